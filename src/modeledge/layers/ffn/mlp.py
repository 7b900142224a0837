"""Two layers with a non-linearity between them. Source: arXiv:1706.03762 §3.3."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from modeledge.core import Part
from modeledge.layers import Sizes
from modeledge.layers.activations import ACTIVATIONS
from modeledge.layers.dropout import Dropout
from modeledge.layers.ffn import FeedForwardConfig


class MLP(nn.Module, Part):
    light = ("rest",)

    class Config(FeedForwardConfig):
        pass

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__()
        width = config.width or 4 * sizes.width
        self.up = nn.Linear(sizes.width, width, bias=config.bias)
        self.activate = ACTIVATIONS[config.activation]
        self.dropout = Dropout(config.dropout)
        self.down = nn.Linear(width, sizes.width, bias=config.bias)

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        return self.rest(self.up(x))

    def rest(self, hidden: Float[Tensor, "*b f"]) -> Float[Tensor, "*b d"]:
        """What follows the first product."""
        return self.down(self.dropout(self.activate(hidden)))
