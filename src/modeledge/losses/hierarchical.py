"""What a word costs as a walk down a binary tree.

Source: hierarchical softmax, word2vec, arXiv:1310.4546 §2.1. Not here: the tree (heads/hierarchical_softmax.py)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def hierarchical(scores: Float[Tensor, "*#n"], turns: Float[Tensor, "*#n"], times: Float[Tensor, "*#n"]) -> Tensor:
    """Sum of -log s(turn x score) over the forks of paths, in nats, each `times` as often; a turn of 0 is no fork.

    The three broadcast against each other."""
    return (F.softplus(-turns * scores.float()) * turns.abs() * times).sum()
