"""Factorisation orders and the spans that are predicted."""

import numpy as np
import pytest

from modeledge.core import keyed
from modeledge.views.corrupt.permute import choose_spans, factorise


def maskable_rows(rows, width):
    flag = np.ones((rows, width), bool)
    flag[:, [width // 2, width - 1]] = False
    return flag


def test_exactly_the_wanted_number_is_predicted():
    maskable = maskable_rows(300, 128)
    chosen = choose_spans(maskable, keyed(1), wanted=np.full(300, 21))
    assert (chosen.sum(1) == 21).all() and not (chosen & ~maskable).any()


def test_span_lengths_are_proportional_to_one_over_n():
    maskable = np.ones((6000, 280), bool)
    chosen = choose_spans(maskable, keyed(2), wanted=np.full(6000, 2))  # two tokens at most: the first span, cut at 2
    first = np.argmax(chosen, axis=1)
    both = chosen[np.arange(6000), np.minimum(first + 1, 279)]
    p = (1 / np.arange(1, 6)) / (1 / np.arange(1, 6)).sum()
    longer = 1 - p[0]
    lucky = p[0] * 2 / 280  # a single token topped up by a neighbour
    assert abs(both.mean() - longer - lucky) < 3 * np.sqrt(longer * p[0] / 6000)
    whole = choose_spans(np.ones((4000, 700), bool), keyed(3), wanted=np.full(4000, 700 // 7))
    assert abs(whole[:, :350].mean() - whole[:, 350:].mean()) < 0.004  # spans lie evenly over the row


def test_spans_begin_at_words():
    starts = np.zeros((2000, 64), bool)
    starts[:, ::4] = True
    chosen = choose_spans(np.ones_like(starts), keyed(4), wanted=np.full(2000, 1), word_starts=starts)
    assert starts[chosen].mean() > 0.95  # all but rows whose first span fell off the end and was topped up


def test_all_orders_of_the_predicted_are_equally_likely():
    predicted = np.tile([True, False, True, True], (30_000, 1))
    rank = factorise(predicted, ~predicted, keyed(5))
    _, counts = np.unique(np.argsort(rank[:, [0, 2, 3]], axis=1) @ [1, 10, 100], return_counts=True)
    assert len(counts) == 6 and ((counts - 5000) ** 2 / 5000).sum() < 20.5  # 5 degrees, p = 0.001


def test_free_tokens_share_the_lowest_rank_and_the_others_have_one_each():
    predicted = np.array([[True, False, False, True, False]])
    free = np.array([[False, True, True, False, False]])  # the last is functional: neither
    rank = factorise(predicted, free, keyed(6))
    assert rank[0, 1] == rank[0, 2] == -1
    others = rank[0, [0, 3, 4]]
    assert len(set(others)) == 3 and others.min() >= 0


def test_a_block_comes_wholly_after_the_one_before_it():
    predicted = keyed(7).random((50, 12)) < 0.4
    rank = factorise(predicted, ~predicted, keyed(8), block=6)
    assert (rank[:, :6].max(1) < rank[:, 6:].min(1)).all()
    assert (rank[:, 6:][~predicted[:, 6:]] == 6).all()


def test_a_predicted_token_cannot_be_free():
    flag = np.ones((1, 2), bool)
    with pytest.raises(ValueError, match="cannot be free"):
        factorise(flag, flag, keyed(1))
