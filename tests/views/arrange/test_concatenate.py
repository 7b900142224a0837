"""Two padded texts as one, against lists."""

from __future__ import annotations

import numpy as np

from modeledge.views.arrange.concatenate import followed_by


def test_places_are_those_of_joined_lists():
    texts = [[10, 11, 12], [20, 21, 22, 23]]
    later, at, valid = followed_by(np.array([3, 4, 3]), np.array([4, 0, 4]), 6, skip=1)
    pairs = [(0, 1), (1, 0), (0, 1)]
    wanted = [texts[0] + texts[1][1:], texts[1], texts[0] + texts[1][1:]]
    for i, (first, second) in enumerate(pairs):
        found = [
            texts[second if late else first][k] for late, k, ok in zip(later[i], at[i], valid[i], strict=True) if ok
        ]
        assert found == wanted[i][:6]
