"""Ranking by distance: what is true lies nearer than what is not.

Sources: the margin, TransE, Bordes et al., NIPS 2013, eq. 1; its soft form, RotatE, arXiv:1902.10197 eq. 5, and KEPLER,
arXiv:1911.06136 eq. 3, whose released code takes half of it. Not here: distances (objectives/translate.py)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from modeledge.core import Sum


def margin_ranking(true: Float[Tensor, " b"], false: Float[Tensor, "b n"], *, margin: float) -> Sum:
    """Sum of max(0, margin + true - false) over all pairs, in units of distance; and how many pairs."""
    each = (margin + true.float()[:, None] - false.float()).clamp_min(0.0)
    return Sum(each.sum(), torch.full((), each.numel(), device=each.device))


def logistic_ranking(true: Float[Tensor, " b"], false: Float[Tensor, "b n"], *, margin: float) -> Sum:
    """Sum of half of -log s(margin - true) - mean log s(false - margin), in nats; and how many true ones."""
    each = F.softplus(true.float() - margin) + F.softplus(margin - false.float()).mean(1)
    return Sum(each.sum() / 2, torch.full((), len(each), device=each.device))
