"""One fragment: its size, and where it begins."""

import numpy as np

from modeledge.core import keyed
from modeledge.views.corrupt.fragment import choose_fragment


def test_the_size_is_the_rounded_share_and_the_fragment_lies_inside():
    n = keyed("n").integers(1, 60, 500)
    for rate in (0.01, 0.5, 1.0):
        begin, size = choose_fragment(n, keyed("f"), rate=rate)
        assert size.tolist() == [min(max(round(rate * int(k)), 1), int(k)) for k in n]
        assert (begin >= 0).all() and (begin + size <= n).all()


def test_a_fifth_begins_the_text_a_fifth_ends_it_and_the_rest_lies_anywhere():
    begin, size = choose_fragment(np.full(60_000, 10), keyed("where"), rate=0.5)
    counts = np.bincount(begin, minlength=6)
    share = np.array([0.2 + 0.1, 0.1, 0.1, 0.1, 0.1, 0.2 + 0.1])
    assert (size == 5).all() and (abs(counts - 60_000 * share) < 4 * np.sqrt(60_000 * share)).all()
