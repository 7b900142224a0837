"""One vector a row. A kind is built with (config, sizes)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from modeledge.core import Batch, Part, PartConfig
from modeledge.layers import Sizes


class Pool(nn.Module, Part):
    """pool(states, batch): b d. `width` is that of the vector, the states' own where a kind does not say otherwise."""

    def __init__(self, config: PartConfig, sizes: Sizes):
        super().__init__()
        self.width = sizes.width

    def forward(self, states: Float[Tensor, "b t d"], batch: Batch) -> Float[Tensor, "b d"]:
        raise NotImplementedError
