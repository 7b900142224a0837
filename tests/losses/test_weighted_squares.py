"""The loss of GloVe against a plain loop."""

from __future__ import annotations

import math

import pytest
import torch

from modeledge.losses.weighted_squares import weighted_squares


def test_the_loss_is_that_of_a_plain_loop_and_empty_cells_are_no_cells():
    torch.manual_seed(0)
    scores, counts = torch.randn(3, 7, requires_grad=True), torch.rand(3, 7) * 30
    counts[0, :3] = 0
    total, number = 0.0, 0
    for score, x in zip(scores.flatten().tolist(), counts.flatten().tolist(), strict=True):
        if x > 0:
            total += 0.5 * min(1.0, (x / 10) ** 0.75) * (score - math.log(x)) ** 2
            number += 1
    found = weighted_squares(scores, counts, full=10.0, power=0.75)
    assert found.total.item() == pytest.approx(total, rel=1e-6) and found.count == number == 18
    found.total.backward()
    assert torch.isfinite(scores.grad).all() and (scores.grad[0, :3] == 0).all()


def test_a_count_of_the_full_size_weighs_one_and_so_does_any_above():
    one = torch.ones(1)
    for count in (10.0, 1000.0):
        found = weighted_squares(one * (math.log(count) + 2), one * count, full=10.0, power=0.75)
        assert found.total.item() == pytest.approx(2.0, rel=1e-5)
