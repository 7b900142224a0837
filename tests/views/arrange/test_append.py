"""The layout of XLNet's rows, against a loop."""

import numpy as np

from modeledge.core import keyed
from modeledge.views.arrange.append import append_pair

SEP, CLS = 4, 3


def test_the_layout_is_text_a_sep_b_sep_cls():
    ids = np.arange(10, 10 + 8 * 20).reshape(8, 20)
    made = append_pair(ids, keyed(1), kept=8, sep=SEP, cls=CLS)
    seen = set()
    for row in range(8):
        end = int(np.argmax(made.ids[row] == SEP))
        assert 9 <= end <= 16  # at least one token each in A and B
        b = made.ids[row, end + 1 : 18].tolist()
        same, other = ids[row, end:17].tolist(), ids[(row + 1) % 8, end:17].tolist()
        seen.add("same" if b == same else "other" if b == other else "neither")
        assert made.ids[row, :end].tolist() == ids[row, :end].tolist()
        assert made.ids[row, 18:].tolist() == [SEP, CLS]
        assert made.segments[row].tolist() == [0] * (end + 1) + [1] * (18 - end) + [2]
        assert np.flatnonzero(made.special[row]).tolist() == [end, 18, 19]
    assert seen == {"same", "other"}


def test_half_of_the_pairs_are_random_and_the_cut_is_uniform():
    ids = np.arange(4000 * 12).reshape(4000, 12)
    made = append_pair(ids, keyed(2), kept=2, sep=-1, cls=-2)
    end = np.argmax(made.ids == -1, axis=1)
    first_b = made.ids[np.arange(4000), end + 1]
    assert abs((first_b != ids[np.arange(4000), end]).mean() - 0.5) < 3 * np.sqrt(0.25 / 4000)
    counts = np.bincount(end, minlength=12)[3:9]
    assert counts.sum() == 4000 and ((counts - 4000 / 6) ** 2 / (4000 / 6)).sum() < 20.5
