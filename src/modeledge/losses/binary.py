"""Binary cross-entropy for yes/no predictions at many places."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from modeledge.core import Sum


def binary_cross_entropy(logits: Float[Tensor, "*n"], labels: Bool[Tensor, "*n"], counted: Bool[Tensor, "*n"]) -> Sum:
    """Sum of the binary cross-entropy, in nats, where `counted`; and how many places that is."""
    each = F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none")
    return Sum(torch.where(counted, each, 0.0).sum(), counted.sum())
