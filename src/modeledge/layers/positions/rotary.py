"""Queries and keys turned by an angle that grows with the place, so that scores depend on distance.

Source: RoFormer, arXiv:2104.09864 §3.2; the halves of the head are paired, as in most later code."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from modeledge.core import PartConfig, RecipeError
from modeledge.layers import Sizes
from modeledge.layers.positions import Positions, Turn


class Rotary(Positions):
    class Config(PartConfig):
        """base: the longest wavelength is 2 pi times this."""

        base: float = Field(10000.0, gt=1)

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        if sizes.head_width % 2:
            raise RecipeError(
                f"backbone.positions: rotary needs heads of even width, these are {sizes.head_width} wide"
            )
        self.pairs, self.base = sizes.head_width // 2, config.base

    def turn(self, at: Int[Tensor, "_ t"]) -> Turn:
        step = torch.arange(self.pairs, device=at.device, dtype=torch.float32) / self.pairs
        angle = at[:, None, :, None] * self.base**-step  # _ 1 t dh/2, fp32 whatever the precision of the rest
        cos, sin = angle.cos(), angle.sin()
        cos = torch.cat([cos, cos], -1)
        return lambda x: _Turned.apply(x, cos, sin)  # type: ignore[no-any-return]


class _Turned(torch.autograd.Function):
    """x (... dh) turned by the angle whose cosines (... dh) and sines (... dh/2) are given; gradients are turned back.

    Four passes over memory either way, where the formula written out takes ten."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        half, wide = sin.shape[-1], x.to(torch.promote_types(x.dtype, torch.float32))
        out = wide * cos
        out[..., :half].addcmul_(wide[..., half:], sin, value=-1)
        out[..., half:].addcmul_(wide[..., :half], sin)
        return out.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _Turned.apply(grads[0], cos, -sin), None, None  # type: ignore[return-value]
