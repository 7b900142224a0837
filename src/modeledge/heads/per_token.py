"""A score or several for each token: tags, "was it replaced?", start and end of an answer.

Source: ELECTRA's discriminator, arXiv:2003.10555 §2 (with a hidden layer in the released code)."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Facts, Part, PartConfig
from modeledge.heads import linear
from modeledge.layers.activations import ACTIVATIONS, Activation
from modeledge.layers.dropout import Dropout


class PerToken(nn.Module, Part):
    class Config(PartConfig):
        """transform: a layer of the backbone's width and a non-linearity first."""

        transform: Literal["dense", "none"] = "none"
        activation: Activation = "gelu"
        dropout: float = Field(0.0, ge=0, lt=1)

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module, outputs: int = 1):
        super().__init__()
        width: int = backbone.width  # type: ignore[assignment]
        self.dropout = Dropout(config.dropout)
        self.dense = linear(width, width) if config.transform == "dense" else None
        self.activate = ACTIVATIONS[config.activation]
        self.out = linear(width, outputs)

    def forward(self, states: Float[Tensor, "*b d"]) -> Float[Tensor, "*b c"]:
        """Scores before sigmoid or softmax."""
        x = self.dropout(states)
        return self.out(x if self.dense is None else self.activate(self.dense(x)))
