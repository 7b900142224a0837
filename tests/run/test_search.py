"""Searching without a model: against exhaustive search and transformers' filters."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from modeledge.run.search import Beam, Greedy, Sample, beams, filtered, one_by_one

END, PAD, V = 0, 9, 4


class Table:
    """A model whose scores depend on the last two tokens: a table drawn once."""

    def __init__(self, b: int, seed: int = 0):
        self.scores = torch.randn(V + 1, V + 1, V, generator=torch.Generator().manual_seed(seed)) * 1.5
        self.last = torch.full((b, 2), V)

    def first(self):
        return self.scores[self.last[:, 0], self.last[:, 1]]

    def next(self, ids):
        self.last = torch.stack([self.last[:, 1], ids.clamp(max=V)], 1)
        return self.first()

    def reorder(self, rows):
        self.last = self.last[rows]


def log_p(text, table):
    total, last = 0.0, (V, V)
    for token in text:
        total += table.scores[last].log_softmax(-1)[token].item()
        last = (last[1], token)
    return total


def everything(limit):
    """All texts that end with END, or have the full length without it."""
    for n in range(1, limit + 1):
        for body in itertools.product(range(1, V), repeat=n - 1):
            yield (*body, END)
            if n == limit:
                yield from ((*body, token) for token in range(1, V))


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_enough_beam_finds_the_best_text(seed):
    """Penalty 0: log p itself, for which stopping early loses nothing."""
    table = Table(1, seed)
    found = beams(Table(1, seed), Beam(64, penalty=0.0), limit=4, end=END, pad=PAD)
    best = max(everything(4), key=lambda t: log_p(t, table))
    assert tuple(t for t in found[0].tolist() if t != PAD) == best


def test_one_beam_is_greedy():
    for seed in range(8):
        a = beams(Table(2, seed), Beam(1), limit=6, end=END, pad=PAD).tolist()
        b = one_by_one(Table(2, seed), Greedy(), limit=6, end=END, pad=PAD).tolist()
        assert a == b


def test_nothing_but_padding_follows_the_end():
    for how in (Greedy(), Sample()):
        for row in one_by_one(Table(50), how, limit=7, end=END, pad=PAD).tolist():
            after = row[row.index(END) + 1 :] if END in row else []
            assert set(after) <= {PAD} and PAD not in row[: len(row) - len(after)]


@pytest.mark.parametrize(
    "k, p, t", [(0, 1.0, 0.7), (5, 1.0, 1.0), (0, 0.8, 1.0), (8, 0.5, 1.3), (0, 1e-6, 1.0), (99, 1.0, 1.0)]
)
def test_the_filtered_distribution_is_that_of_transformers(k, p, t):
    scores = torch.randn(200, 20) * 3
    wanted = TemperatureLogitsWarper(t)(None, scores)
    wanted = TopKLogitsWarper(k)(None, wanted) if k else wanted
    wanted = TopPLogitsWarper(p)(None, wanted) if p < 1 else wanted
    torch.testing.assert_close(filtered(scores, Sample(t, k, p)).softmax(-1), wanted.softmax(-1))


def test_a_share_of_nothing_leaves_the_best_token():
    scores = torch.randn(3, 7)
    found = filtered(scores, Sample(top_p=0.0)).softmax(-1)
    assert torch.equal(found, torch.nn.functional.one_hot(scores.argmax(-1), 7).float())
