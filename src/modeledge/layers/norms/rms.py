"""Root mean square 1 over the width, then a learned gain; no mean, no shift. Source: arXiv:1910.07467; T5 uses it."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Part, PartConfig


class RootMeanSquare(nn.RMSNorm, Part):
    class Config(PartConfig):
        """eps: added to the mean square."""

        eps: float = Field(1e-6, gt=0)

    def __init__(self, config: Config, width: int):
        super().__init__(width, eps=config.eps)

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        gain = self.weight.to(x.dtype)  # the fused kernel wants one precision
        return F.rms_norm(x, self.normalized_shape, gain, self.eps)
