"""The last valid token's state: the extract token of GPT, the end of text of CLIP."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from modeledge.core import Batch, PartConfig
from modeledge.layers.pools import Pool


class Last(Pool):
    class Config(PartConfig):
        """Nothing to set."""

    def forward(self, states: Float[Tensor, "b t d"], batch: Batch) -> Float[Tensor, "b d"]:
        if "valid" not in batch:
            return states[:, -1]
        place = torch.arange(states.shape[1], device=states.device)
        last = (batch["valid"] * (place + 1)).argmax(1)  # also right when padding stands in front
        return states[torch.arange(len(states), device=states.device), last]
