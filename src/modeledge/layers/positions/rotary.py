"""Queries and keys turned by an angle that grows with the place, so that scores depend on distance.

Source: RoFormer, arXiv:2104.09864 §3.2; the halves of the head are paired, as in most later code."""

from __future__ import annotations

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

        def turned(x: Tensor) -> Tensor:
            a, b = x.to(torch.promote_types(x.dtype, torch.float32)).chunk(2, -1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)

        return turned
