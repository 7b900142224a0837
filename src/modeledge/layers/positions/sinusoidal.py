"""Fixed waves of geometric wavelengths, added to the embedding. Source: arXiv:1706.03762 §3.5.

The first half of the width holds the sines and the second the cosines, as in the authors' code; the paper alternates
them, which is the same up to a permutation of the width."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from modeledge.core import PartConfig
from modeledge.layers import Sizes
from modeledge.layers.positions import Positions


class Sinusoidal(Positions):
    class Config(PartConfig):
        """base: the longest wavelength is 2 pi times this."""

        base: float = Field(10000.0, gt=1)

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        width = sizes.embedded or sizes.width
        self.sines, self.cosines = (width + 1) // 2, width // 2
        self.width, self.base = width, config.base

    def add(
        self, x: Float[Tensor, "b t e"], at: Int[Tensor, "_ t"], grid: tuple[int, int] | None = None
    ) -> Float[Tensor, "b t e"]:
        step = torch.arange(self.sines, device=x.device, dtype=torch.float32) * (2 / self.width)
        angle = at[..., None] * self.base**-step
        return x + torch.cat([angle.sin(), angle[..., : self.cosines].cos()], -1).to(x.dtype)
