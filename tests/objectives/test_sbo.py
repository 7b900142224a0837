"""Span boundaries: which tokens have a target, from which states, and the head against a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modeledge.core import IGNORE, Batch, Output, RecipeError
from modeledge.objectives import gather_targets


@pytest.fixture
def both(lab):
    backbone = lab.backbone()
    mlm = lab.objective("mlm", backbone, select="words", ngrams={"stop": 0.2, "most": 10}, replace={"per": "span"})
    return backbone, mlm, lab.objective("sbo", backbone)


def ready(labels, valid=None):
    labels = np.array(labels)
    batch = Batch(ids=np.full(labels.shape, 9), labels=labels)
    return gather_targets(batch if valid is None else batch.but(valid=np.array(valid)))


def told_by_loop(labels, longest):
    """(row, left border, right border, place in the span, label) of each target."""
    out = []
    for row, line in enumerate(labels):
        t, q = len(line), 0
        while q < t:
            end = q
            while end < t and line[end] != IGNORE:
                end += 1
            if end > q and q > 0 and end < t:
                out += [(row, q - 1, end, place, line[q + place]) for place in range(min(end - q, longest))]
            q = max(end, q + 1)
    return out


LINES = [
    [IGNORE, 8, 9, IGNORE, 7, IGNORE, IGNORE, IGNORE],
    [8, 9, IGNORE, 10, 11, 12, 13, IGNORE],  # the first touches the edge
    [IGNORE, 7, IGNORE, IGNORE, IGNORE, 9, 9, 9],  # so does the last
]


@torch.no_grad()
def test_scores_are_those_of_a_plain_loop(lab, both):
    backbone, _, sbo = both
    sbo = lab.objective("sbo", backbone, longest=3)
    head, states = sbo.head, torch.randn(3, 8, 16)
    for p in head.parameters():
        p.add_(0.3 * torch.randn_like(p))
    total = 0.0
    told = told_by_loop(LINES, 3)
    for row, left, right, place, label in told:
        x = torch.cat([states[row, left], states[row, right], head.places.weight[place]])
        for layer, norm in ((head.first, head.norms[0]), (head.second, head.norms[1])):
            x = F.gelu(layer(x))
            x = (x - x.mean()) / (x.var(unbiased=False) + norm.eps).sqrt() * norm.weight + norm.bias
        scores = backbone.embed.weight @ x + head.decoder.bias
        total -= scores.log_softmax(-1)[label].item()
    batch = ready(LINES)
    found = sbo.loss(Output(states=states), batch.tensors())["sbo"]
    assert found.count == len(told) == 7 == sbo.counts(batch)["sbo"]
    assert found.total.item() == pytest.approx(total, rel=1e-5)


def test_a_span_whose_right_border_is_padding_has_no_target(both):
    valid = [[True] * 6 + [False] * 2]
    batch = ready([[IGNORE, 7, IGNORE, IGNORE, 8, 9, IGNORE, IGNORE]], valid)
    assert both[2].counts(batch) == {"sbo": 1.0}


def test_only_the_states_around_the_spans_count(lab, both):
    backbone, mlm, sbo = both
    view = lab.view(mlm, lab.rows(6, 40), 1)
    batch = mlm.finish(view).tensors()
    states = mlm.run(backbone, batch).states.detach().requires_grad_()
    (grad,) = torch.autograd.grad(sbo.loss(Output(states=states), batch)["sbo"].total, states)
    borders = {(row, side) for row, *sides, _, _ in told_by_loop(view.labels.tolist(), 15) for side in sides}
    touched = {tuple(at) for at in (grad.abs().sum(-1) > 0).nonzero().tolist()}
    assert touched == borders and not any(view.labels[at] != IGNORE for at in borders)


def test_counts_hold_for_padded_rows_and_after_they_are_trimmed(lab, both):
    backbone, mlm, sbo = both
    view = lab.view(mlm, lab.rows(8, 48), 2)
    told = len(told_by_loop(view.labels.tolist(), 15))
    assert sbo.counts(view)["sbo"] == told > 20
    trimmed = mlm.finish(view.rows(slice(0, 8)).trim()).tensors()
    assert sbo.loss(mlm.run(backbone, trimmed), trimmed)["sbo"].count == told


def test_it_begins_at_chance_and_asks_for_an_objective_that_hides(lab, both):
    backbone, mlm, sbo = both
    batch = lab.ready(mlm, lab.rows(40, 48), 3)
    assert sbo.loss(mlm.run(backbone, batch), batch)["sbo"].mean().item() == pytest.approx(math.log(60), rel=0.05)
    with pytest.raises(RecipeError, match="kind mlm before it"):
        sbo.counts(Batch(ids=np.zeros((2, 4), int)))
