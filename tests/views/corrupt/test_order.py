"""Sentences shuffled and documents rotated, against loops and counts."""

import numpy as np

from modeledge.core import keyed
from modeledge.views.corrupt.order import nudge, permute_sentences, rotate


def test_sentences_stay_whole_and_every_order_is_equally_likely():
    starts = np.zeros((24_000, 12), bool)
    starts[:, [0, 2, 5]] = True  # sentences 01, 234, 5678; 9.. is padding
    order = permute_sentences(np.full(24_000, 9), starts, keyed("sentences"))
    whole = {"01", "234", "5678"}
    seen, counts = np.unique(order, axis=0, return_counts=True)
    assert len(seen) == 6 and ((counts - 4000) ** 2 / 4000).sum() < 20.5  # 5 degrees, p = 0.001
    for row in seen:
        text = "".join(map(str, row[:9]))
        assert all(s in text for s in whole) and row[9:].tolist() == [9, 10, 11]


def test_the_first_place_begins_a_sentence_in_any_case():
    order = permute_sentences(np.array([4]), np.array([[False, False, True, False, False]]), keyed(0))
    assert sorted(order[0].tolist()) == [0, 1, 2, 3, 4] and order[0, 4] == 4
    assert order[0, :4].tolist() in ([0, 1, 2, 3], [2, 3, 0, 1])


def test_a_rotation_keeps_the_cyclic_order_and_begins_anywhere():
    n = keyed("n").integers(1, 9, 9000)
    order = rotate(n, 10, keyed("rotate"))
    for row, size in zip(order[:300], n[:300], strict=True):
        first = row[0]
        assert row.tolist() == [*range(first, size), *range(first), *range(size, 10)]
    first = order[n == 5, 0]
    assert abs(np.bincount(first, minlength=5) - len(first) / 5).max() < 4 * np.sqrt(len(first) * 0.16)


def test_an_empty_row_stays():
    assert rotate(np.array([0]), 3, keyed(1)).tolist() == [[0, 1, 2]]


def test_a_nudge_exchanges_neighbours_as_often_as_its_reach_says():
    """With reach 2 the first two change places when u0 > 1 + u1, both uniform below 2: one time in eight."""
    order = nudge(np.full(40_000, 2), 5, keyed("nudge"), reach=2.0)
    assert abs((order[:, 0] == 1).mean() - 1 / 8) < 3 * np.sqrt(1 / 8 * 7 / 8 / 40_000)
    assert (order[:, 2:] == [2, 3, 4]).all()
    assert (nudge(np.array([5, 0]), 5, keyed(0), reach=0.0) == np.arange(5)).all()
