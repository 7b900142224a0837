"""The states read again by a small LSTM, whose own states are weighed against each other: SiATL's task layer.

Source: arXiv:1902.10547 §3.1 and its released code: the weights are a softmax over the valid places of a score through
tanh."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, PartConfig
from modeledge.layers import Sizes
from modeledge.layers.dropout import dropout
from modeledge.layers.pools import Pool


class LSTMAttention(Pool):
    class Config(PartConfig):
        """width: of the LSTM and of the vector; dropout: of its states, with one mask a row."""

        width: int = Field(100, ge=1)
        dropout: float = Field(0.0, ge=0, lt=1)

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        self.config, self.width = config, config.width
        self.read = nn.LSTM(sizes.width, config.width, batch_first=True)
        self.score = nn.Linear(config.width, 1)

    def forward(self, states: Float[Tensor, "b t d"], batch: Batch) -> Float[Tensor, "b w"]:
        x, _ = self.read(states)
        mask = dropout(x.new_ones(len(x), 1, x.shape[-1]), self.config.dropout, self.training)
        x = x * mask
        return (self.weights(x, batch)[..., None] * x).sum(1)

    def weights(self, x: Float[Tensor, "b t w"], batch: Batch) -> Float[Tensor, "b t"]:
        """How much each place counts; padding counts nothing, the others' shares sum to 1."""
        scores = self.score(x).squeeze(-1).tanh()
        if "valid" in batch:
            scores = scores.masked_fill(~batch["valid"], -torch.inf)
        return scores.softmax(-1)
