import itertools

import numpy as np
from torch import tensor

from modeledge.core import Batch
from modeledge.visibility import draw
from modeledge.visibility.around import around, neighbours


def test_the_context_of_a_word_is_as_wide_as_its_reach_and_leaves_the_word_out():
    assert draw(around(tensor([[2, 1, 0, 1, 3]])), 5) == [".##..", "#.#..", ".....", "..#.#", ".###."]


def test_neighbours_by_distance_are_those_of_a_plain_loop_from_either_side():
    rng = np.random.default_rng(0)
    b, t = 4, 15
    valid = np.arange(t) < np.array([t, t - 3, 5, 1])[:, None]
    doc = np.where(valid, np.cumsum(rng.random((b, t)) < 0.2, 1), -1)
    reach = np.where(valid, rng.integers(0, 5, (b, t)), 0)
    batch = Batch(ids=np.zeros((b, t), int), valid=valid, doc=doc, reach=reach)
    its, theirs = neighbours(batch), neighbours(batch, of="them")
    middle = its.shape[-1] // 2
    for row, word, other in itertools.product(range(b), range(t), range(t)):
        apart = other - word
        same = bool(apart) and valid[row, word] and doc[row, word] == doc[row, other]
        for found, of in ((its, word), (theirs, other)):
            near = same and abs(apart) <= reach[row, of]
            assert (abs(apart) <= middle and found[row, word, middle + apart]) == near
    assert its.sum() == theirs.sum() > 50
