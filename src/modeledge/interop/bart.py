"""BART: learned positions that begin at row 2, a norm after the embedding, norms after adding.

Source of the names: transformers' BartForConditionalGeneration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.interop._encoder import both
from modeledge.interop._stacks import SAME, SEQ2SEQ, Stacks

OFFSET = 2
"""Rows of the position table before the first place, which `max_position_embeddings` does not count."""


class Bart(Stacks):
    same = SAME | {
        "embedding.norm.kind": "layer",
        "embedding.norm.eps": 1e-5,
        "positions.kind": "learned",
        "positions.offset": OFFSET,
        "join.kind": "post",
    }
    once = {
        "embed_positions.weight": "positions.table.weight",
        **both("layernorm_embedding", "embedding.norm"),
    }
    classes = (*(({kind}, "BartForConditionalGeneration") for kind in SEQ2SEQ), (set(), "BartModel"))

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        super().adjust(backbone, config, parts)
        backbone["positions"]["max"] = (config.get("max_position_embeddings") or 1024) + OFFSET

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        places = (backbone["positions"].get("max") or OFFSET) - OFFSET
        return super().config(backbone, parts, facts) | {"max_position_embeddings": places}
