"""A vector to one number, through a layer of the same width: what CogQA decides with.

Source: CogQA's released code (dropout 0.2 before each layer, gelu and a norm between them, no biases)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from modeledge.layers.dropout import Dropout

STD = 0.05
"""Standard deviation of the weights."""


class Scorer(nn.Module):
    """Two layers without biases."""

    def __init__(self, width: int, *, dropout: float = 0.2):
        super().__init__()
        self.dropout = Dropout(dropout)
        self.dense, self.norm = nn.Linear(width, width, bias=False), nn.LayerNorm(width)
        self.out = nn.Linear(width, 1, bias=False)
        for layer in (self.dense, self.out):
            nn.init.normal_(layer.weight, std=STD)

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """A number a vector."""
        x = self.norm(F.gelu(self.dense(self.dropout(x))))
        return self.out(self.dropout(x)).squeeze(-1)
