"""How a branch (attention, feed-forward) joins the residual stream, and what ends the stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from modeledge.core import Part, PartConfig
from modeledge.layers.dropout import Dropout


class Join(nn.Module, Part):
    """join(x, branch, *args): the stream after the branch. `dropout` acts on what the branch adds."""

    def __init__(self, config: PartConfig, norm: Callable[[], nn.Module], *, dropout: float):
        super().__init__()
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "b t d"], branch: Callable[..., Tensor], *args: Any) -> Float[Tensor, "b t d"]:
        raise NotImplementedError

    @staticmethod
    def finish(norm: Callable[[], nn.Module]) -> nn.Module:
        """What follows the last block."""
        return nn.Identity()
