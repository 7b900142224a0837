"""Which tokens become blanks: counts, lengths and places against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modeledge.core import keyed
from modeledge.views.corrupt.blanks import long_span, short_spans, span_lengths, whole_sentences


def lengths_of(row):
    """The lengths of a row's runs."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


def test_lengths_are_poisson_cut_to_1_to_39():
    from scipy.stats import poisson

    p = span_lengths(3.0)
    wanted = poisson.pmf(np.arange(1, 40), 3)
    np.testing.assert_allclose(p, wanted / wanted.sum(), rtol=1e-9)
    assert p @ np.arange(1, 40) == pytest.approx(3.157, abs=1e-3)  # 3 / (1 - e^-3)


def test_every_row_hides_its_share_and_spans_have_the_drawn_lengths():
    maskable = np.ones((400, 200), bool)
    maskable[:, [0, 199]] = False
    p = span_lengths(3.0)
    hidden = short_spans(maskable, keyed("glm"), rate=0.15, lengths=p)
    assert (hidden.sum(1) == 30).all() and not hidden[:, [0, 199]].any()
    sizes = [s for row in hidden for s in lengths_of(row)]
    counts = np.bincount(sizes, minlength=40)[1:4]
    # a tenth of the spans was cut to fit; the rest keep the ratios of the distribution
    expected = p[:3] * len(sizes)
    assert np.abs(counts - expected).max() < 0.12 * len(sizes)
    assert np.mean(sizes) == pytest.approx(3.157, rel=0.1)
    by_place = hidden[:, 1:199].mean(0)
    assert np.abs(by_place[5:-5] - 30 / 198).max() < 5 * math.sqrt(0.15 * 0.85 / 400)  # anywhere alike


def test_spans_end_at_what_may_not_be_hidden_and_never_touch():
    maskable = keyed("m").random((200, 60)) < 0.8
    hidden = short_spans(maskable, keyed("glm", 2), rate=0.5, lengths=span_lengths(3.0))
    n = maskable.sum(1)
    assert not (hidden & ~maskable).any() and (hidden.sum(1) == np.round(0.5 * n)).all()
    one = short_spans(np.ones((500, 12), bool), keyed("glm", 3), rate=0.5, lengths=np.array([1.0]))
    assert all(set(lengths_of(row)) == {1} for row in one)  # six single tokens of twelve, none beside another
    starts = np.bincount(np.flatnonzero(one[:, :2].ravel()) % 2, minlength=2)
    assert starts[0] / 500 == pytest.approx(6 / 7, abs=3 * math.sqrt(6 / 49 / 500))  # of C(7, 6) arrangements


def test_rows_of_one_or_no_token_are_taken_whole():
    maskable = np.array([[1, 0, 0], [0, 0, 0]], bool)
    for hidden in (
        short_spans(maskable, keyed("x"), rate=0.15, lengths=span_lengths(3.0)),
        long_span(maskable, keyed("x"), least=0.5),
        whole_sentences(maskable, np.zeros_like(maskable), keyed("x"), rate=0.15),
    ):
        assert hidden.tolist() == maskable.tolist()


def test_a_long_span_covers_half_to_all_and_stands_anywhere():
    maskable = np.ones((4000, 22), bool)
    maskable[:, [0, 21]] = False
    hidden = long_span(maskable, keyed("doc"), least=0.5)
    sizes = hidden.sum(1)
    assert all(len(lengths_of(row)) == 1 for row in hidden)
    assert np.bincount(sizes, minlength=21)[10:].min() > 4000 / 11 * 0.8 and sizes.min() == 10 and sizes.max() == 20
    begins = hidden[sizes == 15].argmax(1)
    assert set(begins) == set(range(1, 7))


def test_sentences_are_hidden_whole_and_apart_until_the_share_is_reached():
    rng = keyed("s")
    maskable = np.ones((300, 80), bool)
    maskable[:, 0] = False
    ends = rng.random((300, 80)) < 0.15
    hidden = whole_sentences(maskable, ends, keyed("t"), rate=0.15)
    short = 0
    for row, last in zip(hidden, ends, strict=True):
        bounds = [1, *(np.flatnonzero(last[1:-1]) + 2), 80]
        inside = [row[a:b] for a, b in zip(bounds, bounds[1:], strict=False) if b > a]
        assert all(s.all() or not s.any() for s in inside)
        taken = [bool(s[0]) for s in inside]
        assert not any(a and b for a, b in zip(taken, taken[1:], strict=False))
        sizes = [len(s) for s, t in zip(inside, taken, strict=True) if t]
        short += sum(sizes) < 0.15 * 79
        if sum(sizes) < 0.15 * 79:  # then every sentence left over has a neighbour that is hidden
            assert all(any(taken[max(i - 1, 0) : i + 2]) for i in range(len(taken)))
        assert sum(sizes) - max(sizes) < 0.15 * 79
    assert short <= 0.05 * 300
