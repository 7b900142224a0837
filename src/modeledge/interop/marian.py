"""Marian: the plain translating Transformer, fixed waves for positions and norms after adding.

Source of the names: transformers' MarianMTModel, with one table for both languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.interop._stacks import SAME, SEQ2SEQ, Waves


class Marian(Waves):
    same = SAME | {"embedding.norm": None, "positions.kind": "sinusoidal", "join.kind": "post"}
    first = "seq2seq"
    classes = (*(({kind}, "MarianMTModel") for kind in SEQ2SEQ), (set(), "MarianModel"))

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        super().adjust(backbone, config, parts)
        self.refuse(config, share_encoder_decoder_embeddings=(True,))
