"""Negative sampling: tell true pairs from pairs drawn at random.

Source: word2vec, arXiv:1310.4546 §2.2. Not here: where the noise is drawn (heads/negative_sampling.py)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from modeledge.core import Sum


def negative_sampling(
    positive: Float[Tensor, "*p"],
    pairs: Float[Tensor, "*p"],
    noise: Float[Tensor, "*n"],
    draws: Float[Tensor, "*n"],
) -> Sum:
    """Sum of -log s(score) over true pairs and of -log s(-score) over noise, in nats; and how many true pairs.

    `pairs` and `draws` say how often each score counts; with the exact expectations p(w, c) and k p(w) p(c) in their
    place the optimum of the score is PMI(w, c) - log k (Levy and Goldberg, 2014)."""
    total = (pairs * F.softplus(-positive.float())).sum() + (draws * F.softplus(noise.float())).sum()
    return Sum(total, pairs.sum())
