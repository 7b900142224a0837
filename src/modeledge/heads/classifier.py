"""One vector a row to scores of classes (or one number).

Sources: BERT, arXiv:1810.04805 §4 (dropout and a layer); RoBERTa's and ELECTRA's code (a hidden layer first); ViT,
arXiv:2010.11929 §3.1 (a tanh hidden layer in pre-training, one layer started at zero in fine-tuning)."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Facts, Part, PartConfig
from modeledge.heads import linear
from modeledge.layers.activations import ACTIVATIONS, Activation
from modeledge.layers.dropout import Dropout


class Classifier(nn.Module, Part):
    class Config(PartConfig):
        """hidden: width of a layer before the last (0: none); start: the last layer's first weights."""

        hidden: int = Field(0, ge=0)
        activation: Activation = "tanh"
        dropout: float = Field(0.0, ge=0, lt=1)
        start: Literal["normal", "zero"] = "normal"
        bias: bool = True

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module, outputs: int = 2):
        super().__init__()
        width: int = backbone.width  # type: ignore[assignment]
        self.dropout = Dropout(config.dropout)
        self.dense = linear(width, config.hidden) if config.hidden else None
        self.activate = ACTIVATIONS[config.activation]
        self.out = linear(config.hidden or width, outputs, bias=config.bias)
        if config.start == "zero":
            nn.init.zeros_(self.out.weight)

    def forward(self, pooled: Float[Tensor, "*b d"]) -> Float[Tensor, "*b c"]:
        """Unnormalised log-probabilities of the classes."""
        x = self.dropout(pooled)
        if self.dense is not None:
            x = self.dropout(self.activate(self.dense(x)))
        return self.out(x)
