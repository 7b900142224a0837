"""RoBERTa: BERT's tensors, positions that begin after the padding id, another head.

Source of the names: transformers' RobertaForMaskedLM, which counts positions from `pad_token_id + 1` over the tokens
that are not padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from modeledge.interop._encoder import TASKS, Encoder, blocks, both, embeddings


class Roberta(Encoder):
    prefix = "roberta."
    body = {**embeddings(prefix), **blocks(prefix)}
    parts = {
        "pool": both("roberta.pooler.dense", "backbone.pool.dense"),
        "mlm": {
            **both("lm_head.dense", "objectives.mlm.head.dense"),
            **both("lm_head.layer_norm", "objectives.mlm.head.norm"),
            "lm_head.bias": "objectives.mlm.head.bias",
        },
        "classify": {
            **both("classifier.dense", "objectives.classify.pool.dense"),
            **both("classifier.out_proj", "objectives.classify.head.out"),
        },
        **TASKS,
    }
    twins = {
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }
    classes = (
        ({"mlm"}, "RobertaForMaskedLM"),
        ({"classify"}, "RobertaForSequenceClassification"),
        ({"tag"}, "RobertaForTokenClassification"),
        ({"span_qa"}, "RobertaForQuestionAnswering"),
        (set(), "RobertaModel"),
    )

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        super().adjust(backbone, config, parts)
        backbone["positions"]["offset"] = config.get("pad_token_id", 1) + 1

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        found = super().objective(part, config, parts)
        return {**found, "pool": {"kind": "first"}} if part == "classify" else found

    def companions(
        self, tree: Mapping[str, Any], state: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, tuple[dict[str, Any], dict[str, Tensor]]]]:
        """KEPLER's encoder is a RoBERTa (arXiv:1911.06136 §3.1); the vectors of its relations stay behind."""
        return {n: t for n, t in state.items() if not n.startswith("objectives.translate.")}, {}

    def prepare(
        self, backbone: dict[str, Any], facts: Mapping[str, Any], state: dict[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Move the position table so that its first place follows the padding id of this vocabulary."""
        first, wanted = backbone["positions"].get("offset"), facts.get("special", {}).get("pad", 1) + 1
        if first in (None, wanted):  # other positions, which the type cannot express; or already there
            return backbone, state
        name = "backbone.positions.table.weight"
        rows = state[name][first:]
        moved = torch.cat([rows.new_zeros(wanted, rows.shape[1]), rows])
        places = {**backbone["positions"], "offset": wanted, "max": len(moved)}
        return {**backbone, "positions": places}, {**state, name: moved}
