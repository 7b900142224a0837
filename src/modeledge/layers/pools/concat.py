"""The last state beside the largest value of each component and the mean, over the valid tokens.

Source: concat pooling, ULMFiT, arXiv:1801.06146 §3.3."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from modeledge.core import Batch, PartConfig
from modeledge.layers import Sizes
from modeledge.layers.pools import Pool
from modeledge.layers.pools.last import Last
from modeledge.layers.pools.mean import Mean


class ConcatPool(Pool):
    class Config(PartConfig):
        """Nothing to set."""

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        self.width = 3 * sizes.width
        self.last, self.mean = Last(config, sizes), Mean(config, sizes)

    def forward(self, states: Float[Tensor, "b t d"], batch: Batch) -> Float[Tensor, "b w"]:
        known = states
        if "valid" in batch:
            known = states.masked_fill(~batch["valid"][..., None], -torch.inf)
        return torch.cat([self.last(states, batch), known.amax(1), self.mean(states, batch)], -1)
