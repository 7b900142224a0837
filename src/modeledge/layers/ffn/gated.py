"""A hidden layer multiplied by a gate. Source: arXiv:2002.05202; T5 v1.1 uses it with gelu_tanh."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from modeledge.core import Part
from modeledge.layers import Sizes
from modeledge.layers.activations import ACTIVATIONS
from modeledge.layers.dropout import Dropout
from modeledge.layers.ffn import FeedForwardConfig


class Gated(nn.Module, Part):
    light = ("rest",)

    class Config(FeedForwardConfig):
        """activation: of the gate."""

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__()
        width = config.width or 4 * sizes.width
        self.gate = nn.Linear(sizes.width, width, bias=config.bias)
        self.up = nn.Linear(sizes.width, width, bias=config.bias)
        self.activate = ACTIVATIONS[config.activation]
        self.dropout = Dropout(config.dropout)
        self.down = nn.Linear(width, sizes.width, bias=config.bias)

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        return self.rest(self.gate(x), self.up(x))

    def rest(self, gate: Float[Tensor, "*b f"], hidden: Float[Tensor, "*b f"]) -> Float[Tensor, "*b d"]:
        """What follows the first two products."""
        return self.down(self.dropout(self.activate(gate) * hidden))
