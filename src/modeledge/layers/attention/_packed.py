"""The real tokens of padded rows laid end to end, so that nothing but attention computes on padding."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Packed:
    """Between b t d (rows with padding) and 1 n d (their n real tokens)."""

    def __init__(self, valid: Bool[Tensor, "b t"]):
        self.valid = valid
        self.real = valid.flatten().nonzero().squeeze(1)
        # padding points at some real token, whose copy nobody sees
        self.home = (valid.flatten().cumsum(0) - 1).clamp_min(0)

    def pack(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "1 n d"]:
        """The real tokens."""
        return _Take.apply(x.flatten(0, 1), self.real, self.home, self.valid)[None]  # type: ignore[index, no-any-return]

    def spread(self, x: Float[Tensor, "1 n d"]) -> Float[Tensor, "b t d"]:
        """Back in their rows; what stands at padding is arbitrary, and nobody may look at it."""
        spread = _Take.apply(x[0], self.home, self.real, None)
        return spread.unflatten(0, self.valid.shape)  # type: ignore[union-attr]

    def pad(self, x: Float[Tensor, "1 n d"]) -> Float[Tensor, "b t d"]:
        """Back in their rows, with zeros at padding."""
        return self.spread(x) * self.valid[..., None].to(x.dtype)


class _Take(torch.autograd.Function):
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
        if real is not None:  # padding took no part
            grad = grad * real.flatten()[:, None].to(grad.dtype)
        return grad, None, None, None
