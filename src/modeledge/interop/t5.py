"""T5 and T5 v1.1. Source of the names: transformers' T5ForConditionalGeneration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.core import Batch, InputError, Output
from modeledge.interop._names import Move, Names, expand
from modeledge.interop._port import Port
from modeledge.interop._settings import ACTIVATIONS, SYNONYMS, Key

SEQ2SEQ = ("denoise", "seq2seq")


def stack(name: str) -> dict[str, str]:
    """One layer of the encoder or the decoder, without its feed-forward."""
    at, ours = f"{name}.block.{{i}}.layer.", f"backbone.{name}.blocks.{{i}}."
    names = {at + f"0.SelfAttention.{x}.weight": ours + f"attention.to_{y}.weight" for x, y in zip("qkvo", QKVO)}
    names[at + "0.layer_norm.weight"] = ours + "join_attention.norm.weight"
    if name == "decoder":
        names |= {at + f"1.EncDecAttention.{x}.weight": ours + f"cross.to_{y}.weight" for x, y in zip("qkvo", QKVO)}
        names[at + "1.layer_norm.weight"] = ours + "join_cross.norm.weight"
    names[at + f"{LAST[name]}.layer_norm.weight"] = ours + "join_ffn.norm.weight"
    return names


QKVO = ("q", "k", "v", "out")
LAST = {"encoder": 1, "decoder": 2}
"""The number of the feed-forward among the parts of a layer."""


class T5(Port):
    keys = (
        Key("d_model", "width", 512),
        Key("d_kv", "head_width", 64),
        Key("d_ff", "ffn.width", 2048),
        Key("num_layers", "layers", 6),
        Key("num_decoder_layers", "decoder_layers"),
        Key("num_heads", "heads", 8),
        Key("relative_attention_num_buckets", "positions.buckets", 32),
        Key("relative_attention_max_distance", "positions.distance", 128),
        Key("dropout_rate", ("dropout", "attention.dropout", "ffn.dropout", "final_dropout"), 0.1),
        Key("layer_norm_epsilon", "norm.eps", 1e-6),
    )
    same = {
        "kind": "encoder_decoder",
        "embedding.kind": "tokens",
        "positions.kind": "bucketed",
        "norm.kind": "rms",
        "join.kind": "pre",
        "attention.kind": "softmax",
        "attention.bias": False,
        "attention.scale": 1.0,
        "ffn.bias": False,
        "init.kind": "t5",
    }
    parts = {kind: {} for kind in SEQ2SEQ}
    classes = (*(({kind}, "T5ForConditionalGeneration") for kind in SEQ2SEQ), (set(), "T5Model"))

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        backbone["decoder_layers"] = backbone["decoder_layers"] or backbone["layers"]
        form = config.get("feed_forward_proj") or "relu"
        gated, name = form.startswith("gated-"), form.removeprefix("gated-")
        name = "gelu_new" if gated and name == "gelu" else name  # as transformers reads it
        back = {theirs: ours for ours, theirs in ACTIVATIONS.items()}
        if SYNONYMS.get(name, name) not in back:
            raise InputError(f"config.json (t5): feed_forward_proj: {form!r} is not supported\n  known: {', '.join(back)}")
        backbone["ffn"] |= {"kind": "gated" if gated else "mlp", "activation": back[SYNONYMS.get(name, name)]}

    def found(self, theirs: Mapping[str, Tensor], config: Mapping[str, Any]) -> set[str]:
        return set() if (config.get("architectures") or [""])[0] == "T5Model" else {"denoise"}

    def objective(self, part: str, config: Mapping[str, Any]) -> dict[str, Any]:
        tied = config.get("tie_word_embeddings", True)
        head = {"transform": "none", "bias": False, "decoder": "tied" if tied else "own"}
        return {"kind": part, "head": {"kind": "token", **head, "scale": "root" if tied else "none"}}

    def clean(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = super().clean(theirs)
        for twin in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
            if twin in out and torch.equal(out[twin], out.get("shared.weight", out[twin][:0])):
                del out[twin]
        return out
