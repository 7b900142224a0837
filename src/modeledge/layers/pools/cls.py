"""The first token's state as it is: [CLS] of ViT and CLIP."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from modeledge.core import Batch, PartConfig
from modeledge.layers.pools import Pool


class FirstState(Pool):
    class Config(PartConfig):
        """Nothing to set."""

    def forward(self, states: Float[Tensor, "b t d"], batch: Batch) -> Float[Tensor, "b d"]:
        return states[:, 0]
