"""Normalise what the branch reads and leave the stream itself alone; one more norm ends the stack.

Sources: GPT-2 §2.3; why it trains without warm-up: arXiv:2002.04745."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from modeledge.core import PartConfig
from modeledge.layers.joins import Join


class PreNorm(Join):
    class Config(PartConfig):
        """Nothing to set."""

    def __init__(self, config: Config, norm: Callable[[], nn.Module], *, dropout: float):
        super().__init__(config, norm, dropout=dropout)
        self.norm = norm()

    def forward(self, x: Float[Tensor, "b t d"], branch: Callable[..., Tensor], *args: Any) -> Float[Tensor, "b t d"]:
        return x + self.dropout(branch(self.norm(x), *args))

    @staticmethod
    def finish(norm: Callable[[], nn.Module]) -> nn.Module:
        return norm()
