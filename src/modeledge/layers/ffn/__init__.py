"""Feed-forward branches: each state by itself. A kind is built with (config, sizes)."""

from __future__ import annotations

from pydantic import Field

from modeledge.core import PartConfig
from modeledge.layers.activations import Activation


class FeedForwardConfig(PartConfig):
    """width: of the hidden layer (default: four times the model's); dropout: on the hidden layer."""

    width: int | None = Field(None, ge=1)
    activation: Activation = "gelu"
    bias: bool = True
    dropout: float = Field(0.0, ge=0, lt=1)
