"""Names by their mean log-probability, against one pass a candidate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.analysis.names import ask, naming, score_names
from modeledge.core import Batch, Facts, build, find
from modeledge.objectives import own_document
from modeledge.visibility import see
from modeledge.visibility.full import full

FACTS = Facts(vocab=40, special={"pad": 0, "cls": 2, "sep": 3, "mask": 4}, words=(7, 40))
RECORD = [(1, np.array([10, 11, 12])), (2, np.array([20])), (3, np.array([30, 31]))]
NAMES = [np.array([20]), np.array([21, 22]), np.array([23, 24, 25])]


def test_scores_are_those_of_each_candidate_asked_alone():
    torch.manual_seed(0)
    types = {"types": 4, "order": 8}
    config = find("backbones", "transformer").Config.model_validate(
        {"kind": "transformer", "width": 16, "layers": 2, "heads": 2, "embedding": {"kind": "tokens", "types": types}}
    )
    backbone = build("backbones", config, FACTS).eval()
    torch.nn.init.normal_(backbone.embed.weight)

    def score(asked):
        batch = asked.tensors()
        seen = see(own_document(batch, full), *batch.ids.shape, device="cpu")
        return (backbone(batch, seen).states @ backbone.embed.weight.T)[batch.labels >= 0]

    found = score_names(score, ask(RECORD, 1, NAMES, FACTS))
    for name, value in zip(NAMES, found, strict=True):
        n = len(name)
        ids = [2, 10, 11, 12, *[4] * n, 30, 31, 3]
        kinds = [0, 1, 1, 1, *[2] * n, 3, 3, 0]
        order = [0, 1, 1, 1, *[2] * n, 3, 3, 0]
        inner = [0, 0, 1, 2, *range(n), 0, 1, 0]
        fields = {"ids": ids, "types": kinds, "order": order, "positions": inner}
        with torch.no_grad():
            states = backbone(Batch({k: torch.tensor([v]) for k, v in fields.items()})).states[0, 4 : 4 + n]
            log_p = (states @ backbone.embed.weight.T).log_softmax(-1)
        assert value == pytest.approx(float(log_p[torch.arange(n), torch.tensor(name)].mean()), abs=1e-4)


def test_figures_of_known_ranks():
    assert naming([1, 2, 4, 1], 5) == {"accuracy": 0.5, "mrr": (1 + 0.5 + 0.25 + 1) / 4, "chance": 0.2, "n": 4.0}
