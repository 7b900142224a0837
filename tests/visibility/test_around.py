from torch import tensor

from modeledge.visibility import draw
from modeledge.visibility.around import around


def test_the_context_of_a_word_is_as_wide_as_its_reach_and_leaves_the_word_out():
    assert draw(around(tensor([[2, 1, 0, 1, 3]])), 5) == [".##..", "#.#..", ".....", "..#.#", ".###."]
