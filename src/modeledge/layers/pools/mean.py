"""The mean of the valid tokens' states: sentence vectors, ViT without [CLS]."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from modeledge.core import Batch, PartConfig
from modeledge.layers.pools import Pool


class Mean(Pool):
    class Config(PartConfig):
        """Nothing to set."""

    def forward(self, states: Float[Tensor, "b t d"], batch: Batch) -> Float[Tensor, "b d"]:
        if "valid" not in batch:
            return states.mean(1)
        share = batch["valid"][..., None].to(states.dtype)
        return (states * share).sum(1) / share.sum(1).clamp(min=1)
