"""Mean 0 and variance 1 over the width, then a learned gain and shift. Source: arXiv:1607.06450."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from modeledge.core import Part, PartConfig


class Layer(nn.LayerNorm, Part):
    class Config(PartConfig):
        """eps: added to the variance."""

        eps: float = Field(1e-5, gt=0)

    def __init__(self, config: Config, width: int):
        super().__init__(width, eps=config.eps)
