"""Dropout. Source: Srivastava et al., JMLR 15 (2014); the kept scaled up while training, as in torch.

torch draws the numbers of a CPU one by one on one thread, which takes a fifth of a step of BERT-base there. Here one
draw of its generator decides about four numbers, and what is kept is remembered in a byte each: four times as fast,
forward and backward together."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

FEW = 1 << 14
"""Numbers below which torch's own is as fast."""
STEPS = 1 << 16
"""What a rate is rounded to: a 65,536th."""


class Dropout(nn.Dropout):
    """Zeros for a share `p` of the numbers while training, nothing else."""

    def forward(self, input: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return dropout(input, self.p, self.training)


def dropout(x: Float[Tensor, "*n"], rate: float, training: bool = True) -> Float[Tensor, "*n"]:
    """Each number becomes zero with probability `rate` (0 <= rate < 1), else it is divided by 1 - `rate`; `x` itself if
    not training.

    Chance comes from torch's generator of the device."""
    if not training or rate == 0:
        return x
    if x.device.type != "cpu" or x.numel() < FEW or torch.compiler.is_compiling():
        return F.dropout(x, rate)
    return _Dropout.apply(x, rate)  # type: ignore[return-value]


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        quarters = draws.view(torch.int16)[: x.numel()].view(x.shape)
        kept = quarters.ge_(round(rate * STEPS) - STEPS // 2).to(torch.uint8)
        ctx.save_for_backward(kept)
        ctx.scale = 1 / (1 - rate)
        return _scaled(x, kept, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return _scaled(grads[0], kept, ctx.scale), None


def _scaled(x: Tensor, kept: Tensor, scale: float) -> Tensor:
    """`x` times `scale` where it is kept, in one pass. Zeros and ones are bytes, not booleans, which torch compares and
    converts one by one: five times as slow."""
    return torch.addcmul(x.new_zeros(()), x, kept.to(x.dtype), value=scale)
