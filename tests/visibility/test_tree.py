"""The tree against the definition in words, by a triple loop, and as a picture."""

from __future__ import annotations

import numpy as np
import torch

from modeledge.visibility import draw, see
from modeledge.visibility.tree import tree


def test_a_branch_is_seen_by_itself_and_the_words_it_hangs_on():
    branch = torch.tensor([[0, 0, 1, 1, 2, 0, 3]])  # a [b: two branches] c d, and one on d
    anchor = torch.tensor([[0, 1, 1, 1, 1, 2, 2]])
    assert draw(tree(branch, anchor), 7) == [
        "##...#.",
        "######.",
        ".###...",
        ".###...",
        ".#..#..",
        "##...##",
        ".....##",
    ]


def test_it_is_the_visible_matrix_of_a_triple_loop_and_symmetric():
    rng = np.random.default_rng(0)
    branch = np.where(rng.random((4, 15)) < 0.5, 0, rng.integers(1, 4, (4, 15)))
    anchor = np.where(branch > 0, (branch + 1) // 2, rng.integers(0, 3, (4, 15)))
    mask = see(tree(torch.tensor(branch), torch.tensor(anchor)), 4, 15, device="cpu").mask[:, 0].numpy()
    for b in range(4):
        for q in range(15):
            for k in range(15):
                one, other = branch[b, q], branch[b, k]
                if one == 0 and other > 0:
                    wanted = anchor[b, q] == anchor[b, k]
                elif one > 0 and other == 0:
                    wanted = anchor[b, k] == anchor[b, q]
                else:
                    wanted = one == other
                assert mask[b, q, k] == wanted == mask[b, k, q]
