"""What a word costs as a walk down a binary tree.

Source: hierarchical softmax, word2vec, arXiv:1310.4546 §2.1. Not here: the tree (heads/hierarchical_softmax.py)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def hierarchical(scores: Float[Tensor, "*#n l"], turns: Float[Tensor, "*#n l"]) -> Float[Tensor, "*n"]:
    """-log p of each word in nats: the sum of -log s(turn x score) over the l forks of a path; a turn of 0 is none."""
    return (F.softplus(-turns * scores.float()) * turns.abs()).sum(-1)
