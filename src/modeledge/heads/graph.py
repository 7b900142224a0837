"""Nodes of a graph to a score each: a graph convolution, then a layer.

Source: CogQA, arXiv:1905.05460 §3 and its released code: x' = gelu(W1 x + A' gelu(W2 x)) with the same W1 and W2 in
every turn; A's columns sum to 1."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Facts, Part, PartConfig
from modeledge.heads._scorer import STD, Scorer


class GraphConvolution(nn.Module, Part):
    class Config(PartConfig):
        """layers: how often nodes hear from those before them; dropout: of the score."""

        layers: int = Field(2, ge=0)
        dropout: float = Field(0.2, ge=0, lt=1)

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__()
        self.layers = config.layers
        self.kept = nn.Linear(backbone.width, backbone.width, bias=False)
        self.heard = nn.Linear(backbone.width, backbone.width, bias=False)
        for layer in (self.kept, self.heard):
            nn.init.normal_(layer.weight, std=STD)
        self.score = Scorer(backbone.width, dropout=config.dropout)

    def forward(self, x: Float[Tensor, "b n d"], edges: Float[Tensor, "b n n"]) -> Float[Tensor, "b n"]:
        """A score a node; edges[i, j] is what j hears of i."""
        for _ in range(self.layers):
            x = F.gelu(self.kept(x) + edges.transpose(1, 2) @ F.gelu(self.heard(x)))
        return self.score(x)
