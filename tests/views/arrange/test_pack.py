"""Packing to the left, against a loop."""

import numpy as np

from modeledge.core import keyed
from modeledge.views.arrange.pack import pack


def test_kept_tokens_move_left_in_order():
    ids, keep = keyed(1).integers(10, 99, (20, 30)), keyed(2).random((20, 30)) < 0.3
    keep[3] = False
    packed = pack(ids, keep, pad=0, end=1, multiple=8)
    assert packed.ids.shape[1] % 8 == 0
    assert packed.ids.shape[1] - 8 < keep.sum(1).max() + 1 <= packed.ids.shape[1]
    for row in range(20):
        expected = [*ids[row][keep[row]], 1]
        assert packed.ids[row][packed.valid[row]].tolist() == expected
        assert (packed.ids[row][len(expected) :] == 0).all()


def test_without_an_end_an_empty_row_is_all_padding():
    packed = pack(np.array([[5, 6]]), np.array([[False, False]]), pad=9)
    assert packed.ids.tolist() == [[9]] and packed.valid.tolist() == [[False]]
