"""Weighted least squares on the logarithms of counts.

Source: GloVe, Pennington et al., EMNLP 2014 eq. 8 and 9; the half as in the released code."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from modeledge.core import Sum


def weighted_squares(scores: Float[Tensor, "*n"], counts: Float[Tensor, "*n"], *, full: float, power: float) -> Sum:
    """Sum of f(x) (score - log x)^2 / 2 over counts x > 0, f(x) = min(1, (x / full)^power); and how many there are."""
    there = counts > 0
    known = counts.float().where(there, 1.0)
    weights = (known / full).pow(power).clamp(max=1.0) * there
    return Sum((weights * (scores.float() - torch.log(known)).square()).sum() / 2, there.sum())
