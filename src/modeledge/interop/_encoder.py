"""What the encoders of the BERT family have in common in their Hugging Face form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.interop._names import Names
from modeledge.interop._port import Port
from modeledge.interop._settings import ACTIVATIONS, SYNONYMS, Key, activation

KEYS = (
    Key("hidden_size", "width", 768),
    Key("num_hidden_layers", "layers", 12),
    Key("num_attention_heads", "heads", 12),
    Key("intermediate_size", "ffn.width", 3072),
    activation("hidden_act", "ffn.activation", "gelu"),
    Key("hidden_dropout_prob", "dropout", 0.1),
    Key("attention_probs_dropout_prob", "attention.dropout", 0.1),
    Key("max_position_embeddings", "positions.max", 512),
    Key("type_vocab_size", "embedding.types.segments", 2),
    Key("layer_norm_eps", ("norm.eps", "embedding.norm.eps"), 1e-12),
    Key("initializer_range", "init.std", 0.02),
)

SAME = {
    "kind": "transformer",
    "embedding.kind": "tokens",
    "embedding.norm.kind": "layer",
    "positions.kind": "learned",
    "norm.kind": "layer",
    "join.kind": "post",
    "attention.kind": "softmax",
    "ffn.kind": "mlp",
    "init.kind": "normal",
}


def both(theirs: str, ours: str) -> dict[str, str]:
    """The weight and the bias of a layer or a norm."""
    return {f"{theirs}.{x}": f"{ours}.{x}" for x in ("weight", "bias")}


def embeddings(prefix: str) -> Names:
    """Tables and norm of the embedding."""
    at = f"{prefix}embeddings."
    return {
        at + "word_embeddings.weight": "backbone.embedding.word.weight",
        at + "token_type_embeddings.weight": "backbone.embedding.types.segments.weight",
        at + "position_embeddings.weight": "backbone.positions.table.weight",
        **both(at + "LayerNorm", "backbone.embedding.norm"),
    }


def blocks(prefix: str) -> Names:
    """One layer, as BERT named it and RoBERTa and ELECTRA kept it."""
    at, ours = f"{prefix}encoder.layer.{{i}}.", "backbone.blocks.{i}."
    return {
        **both(at + "attention.self.query", ours + "attention.to_q"),
        **both(at + "attention.self.key", ours + "attention.to_k"),
        **both(at + "attention.self.value", ours + "attention.to_v"),
        **both(at + "attention.output.dense", ours + "attention.to_out"),
        **both(at + "attention.output.LayerNorm", ours + "join_attention.norm"),
        **both(at + "intermediate.dense", ours + "ffn.up"),
        **both(at + "output.dense", ours + "ffn.down"),
        **both(at + "output.LayerNorm", ours + "join_ffn.norm"),
    }


TASKS: dict[str, Names] = {
    "tag": both("classifier", "objectives.tag.head.out"),
    "span_qa": both("qa_outputs", "objectives.span_qa.head.out"),
}
"""Heads that all encoders share."""


class Encoder(Port):
    """Encoders that differ from BERT in a few entries of its tables."""

    keys, same = KEYS, SAME
    fields = {"mlm": "prediction_logits", "nsp": "seq_relationship_logits", "sop": "sop_logits"}

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        self.refuse(config, position_embedding_type=("absolute",), is_decoder=(False,), add_cross_attention=(False,))
        backbone["pool"] = {"kind": "first"} if "pool" in parts else None

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        name = config.get("hidden_act") or "gelu"
        act = {theirs: ours for ours, theirs in ACTIVATIONS.items()}[SYNONYMS.get(name, name)]
        own = config.get("classifier_dropout")
        drop = config.get("hidden_dropout_prob", 0.1) if own is None else own
        heads: dict[str, dict[str, Any]] = {
            "mlm": {"kind": "token", "activation": act},
            "nsp": {"kind": "classifier"},
            "sop": {"kind": "classifier"},
            "classify": {"kind": "classifier", "dropout": drop},
            "tag": {"kind": "per_token", "dropout": drop},
            "span_qa": {"kind": "per_token"},
            "rtd": {"kind": "per_token", "transform": "dense", "activation": act},
        }
        return {"kind": part, "head": heads[part]}
