"""PEGASUS: fixed waves for positions, norms before each branch and one at the end of each stack.

Source of the names: transformers' PegasusForConditionalGeneration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from modeledge.interop._encoder import both
from modeledge.interop._stacks import SAME, SEQ2SEQ, Waves, waves

PLACES = 1024
"""Rows of the tables that are written; the model itself has no limit."""


class Pegasus(Waves):
    same = SAME | {"embedding.norm": None, "positions.kind": "sinusoidal", "join.kind": "pre"}
    once = both("layer_norm", "norm")
    first = "gap_sentences"
    classes = (*(({kind}, "PegasusForConditionalGeneration") for kind in SEQ2SEQ), (set(), "PegasusModel"))

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        return super().config(backbone, parts, facts) | {"max_position_embeddings": PLACES}

    def tensors(self, backbone: Mapping[str, Any], parts: set[str], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = super().tensors(backbone, parts, ours)
        table = waves(PLACES, backbone["width"])
        prefix = "" if self.heads(parts) else self.prefix
        return out | {name.removeprefix(prefix): table.clone() for name in self.places}
