"""Variational dropout for recurrent stacks: what is left out of a row is left out at all its places.

Source: Gal and Ghahramani, arXiv:1512.05287; the rates as AWD-LSTM, arXiv:1708.02182 §4, tells them apart."""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Config
from modeledge.layers.dropout import dropout


class Variational(Config):
    """Rates of dropout with one mask for all places of a row: of the embedded words, of the states between layers and
    of the last ones; weights: of the matrices from step to step."""

    input: float = Field(0.0, ge=0, lt=1)
    between: float = Field(0.0, ge=0, lt=1)
    output: float = Field(0.0, ge=0, lt=1)
    weights: float = Field(0.0, ge=0, lt=1)


class RowDropout(nn.Module):
    """Dropout with one mask for all places of a row."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        return x * dropout(x.new_ones(len(x), 1, x.shape[-1]), self.rate, self.training)
