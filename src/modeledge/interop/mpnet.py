"""MPNet: RoBERTa's head and places on BERT's blocks, and T5's buckets of distances.

Source of the names: transformers' MPNetForMaskedLM, which counts places over the tokens whose id is not 1, whatever its
configuration calls padding, and has 32 buckets whatever the configuration says, the last of which begins at a distance
of 128. The query stream of pre-training has no tensors of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from modeledge.core import InputError
from modeledge.interop._encoder import KEYS, SAME, TASKS, Encoder, both
from modeledge.interop.roberta import Roberta

AT, OURS = "mpnet.encoder.layer.{i}.", "backbone.blocks.{i}."
PAD = 1
"""The padding id that is written into transformers' class."""


class MPNet(Encoder):
    prefix = "mpnet."
    keys = tuple(key for key in KEYS if key.theirs != "type_vocab_size")
    same = {
        **SAME,
        "positions.kind": "biased",
        "positions.offset": PAD + 1,
        "positions.bias.kind": "bucketed",
        "positions.bias.buckets": 32,
        "positions.bias.distance": 128,
    }
    body = {
        "mpnet.embeddings.word_embeddings.weight": "backbone.embedding.word.weight",
        "mpnet.embeddings.position_embeddings.weight": "backbone.positions.table.weight",
        "mpnet.encoder.relative_attention_bias.weight": "backbone.positions.distances.table.weight",
        **both("mpnet.embeddings.LayerNorm", "backbone.embedding.norm"),
        **both(AT + "attention.attn.q", OURS + "attention.to_q"),
        **both(AT + "attention.attn.k", OURS + "attention.to_k"),
        **both(AT + "attention.attn.v", OURS + "attention.to_v"),
        **both(AT + "attention.attn.o", OURS + "attention.to_out"),
        **both(AT + "attention.LayerNorm", OURS + "join_attention.norm"),
        **both(AT + "intermediate.dense", OURS + "ffn.up"),
        **both(AT + "output.dense", OURS + "ffn.down"),
        **both(AT + "output.LayerNorm", OURS + "join_ffn.norm"),
    }
    parts = {
        "pool": both("mpnet.pooler.dense", "backbone.pool.dense"),
        "mplm": {
            **both("lm_head.dense", "objectives.mplm.head.dense"),
            **both("lm_head.layer_norm", "objectives.mplm.head.norm"),
            "lm_head.bias": "objectives.mplm.head.bias",
        },
        "classify": Roberta.parts["classify"],
        **TASKS,
    }
    twins = {
        "lm_head.decoder.weight": "mpnet.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }
    classes = (
        ({"mplm"}, "MPNetForMaskedLM"),
        ({"classify"}, "MPNetForSequenceClassification"),
        ({"tag"}, "MPNetForTokenClassification"),
        ({"span_qa"}, "MPNetForQuestionAnswering"),
        (set(), "MPNetModel"),
    )

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        super().adjust(backbone, config, parts)
        self.refuse(config, relative_attention_num_buckets=(32,))

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        if part == "mplm":
            return {**super().objective("mlm", config, parts), "kind": "mplm"}
        found = super().objective(part, config, parts)
        return {**found, "pool": {"kind": "first"}} if part == "classify" else found

    def prepare(
        self, backbone: dict[str, Any], facts: Mapping[str, Any], state: dict[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Raises InputError for a vocabulary in which id 1 is a token: transformers would not count its place."""
        pad = facts.get("special", {}).get("pad", PAD)
        if pad != PAD:
            raise InputError(
                f"mpnet: padding has the id {pad} in this vocabulary, and transformers' class takes {PAD} for it\n"
                "  next: pre-train with a tokenizer that has it there: --set tokenizer.kind=byte_bpe"
            )
        return backbone, state
