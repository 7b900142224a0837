"""Ranking losses against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from modeledge.losses.ranking import logistic_ranking, margin_ranking


def test_both_are_what_a_loop_over_triples_gives():
    torch.manual_seed(0)
    true, false, g = torch.rand(5) * 4, torch.rand(5, 3) * 4, 1.5
    margin = logistic = 0.0
    for d, others in zip(true.tolist(), false.tolist(), strict=True):
        margin += sum(max(0.0, g + d - o) for o in others)
        sigmoid = [1 / (1 + math.exp(-(x))) for x in (g - d, *(o - g for o in others))]
        logistic += 0.5 * (-math.log(sigmoid[0]) - sum(map(math.log, sigmoid[1:])) / 3)
    found = margin_ranking(true, false, margin=g)
    assert float(found.total) == pytest.approx(margin, rel=1e-5) and int(found.count) == 15
    found = logistic_ranking(true, false, margin=g)
    assert float(found.total) == pytest.approx(logistic, rel=1e-5) and int(found.count) == 5
