"""A softmax in two steps: frequent words and the clusters of rarer ones first, then a word within its cluster.

Sources: Grave et al., arXiv:1609.04309; as in Transformer-XL's released code every cluster has the full width and the
matrix is the token table. Ids must be sorted by falling frequency, as those of the `word` tokenizer are."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.core import IGNORE, Facts, Part, PartConfig, RecipeError, Sum
from modeledge.heads import linear
from modeledge.losses.cross_entropy import cross_entropy


class Adaptive(nn.Module, Part):
    """`head(states)` are log-probabilities of all words; `head.loss` computes only the clusters that are asked for."""

    class Config(PartConfig):
        """cutoffs: ids at which a cluster of rarer words begins; those beyond the vocabulary mean nothing."""

        cutoffs: tuple[int, ...] = (20_000, 40_000, 200_000)

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__()
        if list(config.cutoffs) != sorted(set(config.cutoffs)) or any(c < 1 for c in config.cutoffs):
            raise RecipeError(f"head.cutoffs: {list(config.cutoffs)} must be positive and rise")
        self._backbone = (backbone,)  # not registered: the table stays the backbone's alone
        self.bounds = [0, *(c for c in config.cutoffs if c < facts.vocab), facts.vocab]
        self.clusters = linear(backbone.width, len(self.bounds) - 2) if len(self.bounds) > 2 else None
        self.bias = nn.Parameter(torch.zeros(facts.vocab))

    def within(self, states: Float[Tensor, "*m d"], cluster: int) -> Float[Tensor, "*m c"]:
        """Unnormalised log-probabilities of a cluster's words; in the first one, of the other clusters behind them."""
        here = slice(self.bounds[cluster], self.bounds[cluster + 1])
        scores = F.linear(states, self._backbone[0].embed.weight[here], self.bias[here])
        if cluster == 0 and self.clusters is not None:
            scores = torch.cat([scores, self.clusters(states)], -1)
        return scores

    def forward(self, states: Float[Tensor, "*m d"]) -> Float[Tensor, "*m v"]:
        """Log-probabilities of all words."""
        first = self.within(states, 0).float().log_softmax(-1)
        size = self.bounds[1]
        rest = [
            first[..., size + i, None] + self.within(states, i + 1).float().log_softmax(-1)
            for i in range(len(self.bounds) - 2)
        ]
        return torch.cat([first[..., :size], *rest], -1)

    def loss(self, states: Float[Tensor, "m d"], labels: Int[Tensor, " m"], *, smoothing: float = 0.0) -> Sum:
        """Sum of -log p(label), in nats, over labels != IGNORE; and how many there were. Smoothing asks for all words,
        so nothing is saved then."""
        if smoothing:
            return cross_entropy(self(states), labels, smoothing=smoothing)
        counted = labels != IGNORE
        states, labels = states[counted], labels[counted]
        cluster = torch.bucketize(labels, torch.tensor(self.bounds[1:-1], device=labels.device), right=True)
        entry = torch.where(cluster == 0, labels, self.bounds[1] + cluster - 1)
        total = F.cross_entropy(self.within(states, 0).float(), entry, reduction="sum")
        for i in range(1, len(self.bounds) - 1):
            here = cluster == i
            scores = self.within(states[here], i).float()
            total = total + F.cross_entropy(scores, labels[here] - self.bounds[i], reduction="sum")
        return Sum(total, counted.sum())
