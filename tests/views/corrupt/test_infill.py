"""Text infilling: its budget, its lengths and where spans fall, against loops and the Poisson distribution."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.core import keyed
from modeledge.views.corrupt.infill import infill

MASK = 9999


def rows(b, t, seed, *, words=0.6):
    rng = keyed("infill", seed)
    ids = np.arange(b * t).reshape(b, t) + 10  # every token once
    n = rng.integers(1, t + 1, b)
    starts = rng.random((b, t)) < words
    starts[:, 0] = True
    return ids, n, starts


def words_of(ids, n, starts):
    cut = [i for i in range(n) if starts[i] or i == 0]
    return [tuple(ids[a:b]) for a, b in zip(cut, [*cut[1:], n], strict=True)]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10**6), st.sampled_from([0.15, 0.3, 0.8]), st.sampled_from([1.0, 3.0, 6.0]))
def test_whole_words_of_the_budget_are_gone_and_the_rest_stands_in_order(t, seed, rate, span):
    ids, n, starts = rows(5, t, seed)
    tokens, kept = infill(ids, n, starts, keyed("draw", seed), rate=rate, span=span, mask=MASK)
    for row in range(5):
        words = words_of(ids[row], n[row], starts[row])
        left = [x for x in tokens[row][kept[row]] if x != MASK]
        stay = [w for w in words if w[0] in left]
        assert [x for w in stay for x in w] == left  # whole words, in order, nothing twice
        assert len(words) - len(stay) == math.ceil(rate * len(words))
        assert kept[row, : kept[row].sum()].all()


def test_without_words_every_token_is_one():
    ids, n, _ = rows(4, 30, 1)
    tokens, kept = infill(ids, n, None, keyed(1), rate=0.3, span=3.0, mask=MASK)
    for row in range(4):
        assert n[row] - (tokens[row][kept[row]] != MASK).sum() == math.ceil(0.3 * n[row])


def gaps(tokens, first, last):
    """How many words each mask of a row stands for, where masks that touch are left out."""
    found, before, masks = [], first - 1, 0
    for x in [*tokens, last + 1]:
        if x == MASK:
            masks += 1
            continue
        if masks == 1:
            found.append(x - before - 1)
        before, masks = x, 0
    return found


def test_a_mask_stands_for_a_poisson_number_of_words_none_among_them():
    b, t = 400, 500
    ids, n = np.tile(np.arange(t) + 10, (b, 1)), np.full(b, t)
    tokens, kept = infill(ids, n, None, keyed("poisson"), rate=0.05, span=3.0, mask=MASK)  # few, so they rarely touch
    lengths = np.array([g for row, ok in zip(tokens, kept, strict=True) for g in gaps(row[ok], 10, t + 9)])
    share = (lengths == 0).mean()
    wanted = math.exp(-3)  # 4.98 %
    assert abs(share - wanted) < 4 * math.sqrt(wanted / len(lengths))
    masks = (tokens[kept] == MASK).sum()
    assert abs(masks / b - 25 / 3) < 1.0  # 25 words in spans of 3, the last one cut


def test_insertions_make_a_row_longer_when_spans_hide_less_than_they_show():
    ids, n = np.tile(np.arange(60) + 10, (200, 1)), np.full(200, 60)
    _, kept = infill(ids, n, None, keyed("long"), rate=0.5, span=1.0, mask=MASK)  # e^-1 of the spans hide nothing
    assert kept.sum(1).max() > 60


def test_every_place_is_equally_likely():
    ids, n = np.tile(np.arange(20), (20_000, 1)), np.full(20_000, 20)
    tokens, kept = infill(ids, n, None, keyed("even"), rate=0.05, span=1.0, mask=MASK)  # one word of twenty
    gone = np.ones((20_000, 20), bool)
    row, column = np.nonzero(kept & (tokens != MASK))
    gone[row, tokens[row, column]] = False
    counts = gone.sum(0)
    assert counts.sum() == 20_000 and ((counts - 1000) ** 2 / 1000).sum() < 43.8  # 19 degrees, p = 0.001
