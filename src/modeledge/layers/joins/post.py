"""Normalise after adding: the original Transformer, GPT and BERT. Source: arXiv:1706.03762 §3.1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from modeledge.core import PartConfig
from modeledge.layers.joins import Join


class PostNorm(Join):
    class Config(PartConfig):
        """Nothing to set."""

    def __init__(self, config: Config, norm: Callable[[], nn.Module], *, dropout: float):
        super().__init__(config, norm, dropout=dropout)
        self.norm = norm()

    def forward(self, x: Float[Tensor, "b t d"], branch: Callable[..., Tensor], *args: Any) -> Float[Tensor, "b t d"]:
        return self.norm(x + self.dropout(branch(x, *args)))
