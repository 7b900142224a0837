"""Normalise what the branch reads and what it adds. Source: CogView, arXiv:2105.13290 §2.4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from modeledge.core import PartConfig
from modeledge.layers.joins import Join


class Sandwich(Join):
    class Config(PartConfig):
        """Nothing to set."""

    def __init__(self, config: Config, norm: Callable[[], nn.Module], *, dropout: float):
        super().__init__(config, norm, dropout=dropout)
        self.norm = norm()
        self.norm_out = norm()

    def forward(self, x: Float[Tensor, "b t d"], branch: Callable[..., Tensor], *args: Any) -> Float[Tensor, "b t d"]:
        return x + self.dropout(self.norm_out(branch(self.norm(x), *args)))

    @staticmethod
    def finish(norm: Callable[[], nn.Module]) -> nn.Module:
        return norm()
