"""One vector a row to scores of classes, each layer on values brought to one scale over the rows of a batch.

Source: ULMFiT, arXiv:1801.06146 §3.3 (batch normalisation, dropout, a layer of 50 with ReLU, and the same before the
last one): states that were kept small in pre-training reach the classifier at full size."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Facts, Part, PartConfig
from modeledge.heads import linear
from modeledge.layers.dropout import Dropout

Rate = Annotated[float, Field(ge=0, lt=1)]
"""A share of the numbers."""


class BatchNormed(nn.Module, Part):
    """Statistics are of the rows of one forward pass in training, running means afterwards."""

    class Config(PartConfig):
        """hidden: width of the layer before the last; dropout: of what that layer reads and of what the last reads."""

        hidden: int = Field(50, ge=1)
        dropout: tuple[Rate, Rate] = (0.4, 0.1)

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module, outputs: int = 2):
        super().__init__()
        width: int = backbone.width  # type: ignore[assignment]
        first, last = config.dropout
        self.read = nn.Sequential(nn.BatchNorm1d(width), Dropout(first), linear(width, config.hidden), nn.ReLU())
        self.out = nn.Sequential(nn.BatchNorm1d(config.hidden), Dropout(last), linear(config.hidden, outputs))

    def forward(self, pooled: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Unnormalised log-probabilities of the classes."""
        return self.out(self.read(pooled))
