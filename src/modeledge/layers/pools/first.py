"""The first token through a layer of its own. Source: BERT's pooler, arXiv:1810.04805 §3.1 (task 2)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from modeledge.core import Batch, PartConfig
from modeledge.layers import Sizes
from modeledge.layers.activations import ACTIVATIONS, Activation
from modeledge.layers.pools import Pool


class First(Pool):
    class Config(PartConfig):
        """activation: after the layer."""

        activation: Activation = "tanh"

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        self.dense = nn.Linear(sizes.width, sizes.width)
        self.activate = ACTIVATIONS[config.activation]

    def forward(self, states: Float[Tensor, "b t d"], batch: Batch) -> Float[Tensor, "b d"]:
        return self.activate(self.dense(states[:, 0]))
