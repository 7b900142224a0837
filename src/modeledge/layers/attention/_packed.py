"""The real tokens of padded rows laid end to end, so that nothing but attention computes on padding."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

STEPS = 16
"""Sizes that a packed batch may have between n and 2 n tokens."""


class Packed:
    """Between b t d (rows with padding) and 1 n d (their real tokens and a few spare ones at the end).

    The spare ones bring n to one of few sizes: the matrix products of a CPU are prepared for each size anew, which
    costs milliseconds and megabytes, and only so many are kept."""

    def __init__(self, valid: Bool[Tensor, "b t"]):
        self.valid = valid
        real = valid.flatten().nonzero().squeeze(1)
        n = round_up(len(real))
        # spare places hold a copy of the first token, and padding points at some real one; nobody sees either
        self.real = torch.cat([real, real.new_zeros(n - len(real))])
        self.home = (valid.flatten().cumsum(0) - 1).clamp_min(0)
        self.counted = torch.arange(n, device=valid.device) < len(real)

    def pack(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "1 n d"]:
        """The real tokens."""
        return Take.apply(x.flatten(0, 1), self.real, self.home, self.valid)[None]  # type: ignore[index, no-any-return]

    def spread(self, x: Float[Tensor, "1 n d"]) -> Float[Tensor, "b t d"]:
        """Back in their rows; what stands at padding is arbitrary, and nobody may look at it."""
        spread = Take.apply(x[0], self.home, self.real, self.counted)
        return spread.unflatten(0, self.valid.shape)  # type: ignore[union-attr]

    def pad(self, x: Float[Tensor, "1 n d"]) -> Float[Tensor, "b t d"]:
        """Back in their rows, with zeros at padding."""
        return self.spread(x) * self.valid[..., None].to(x.dtype)


def round_up(n: int) -> int:
    """The next of the sizes that a packed batch may have."""
    step = max(1, 2 ** max(n - 1, 1).bit_length() // (2 * STEPS))
    return -(-n // step) * step


class Take(torch.autograd.Function):
    """rows[at]: n d -> m d; the gradient is taken by the inverse index `back` (of n places, those that are not `real`
    get none), which torch cannot know: its own adds row by row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, at: Tensor, back: Tensor, real: Tensor | None) -> Tensor:
        ctx.save_for_backward(back, real)
        return rows.index_select(0, at)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        back, real = ctx.saved_tensors
        grad = grads[0].index_select(0, back)
        if real is not None:  # padding and spare places took no part
            grad = grad * real.flatten()[:, None].to(grad.dtype)
        return grad, None, None, None
