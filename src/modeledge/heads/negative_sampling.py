"""A second table of word vectors, for words as outputs, and the noise that its scores are held against.

Source: word2vec, arXiv:1310.4546 §2.2. The paper draws k noise words for every pair. Here a row of words shares one
draw, and each word of it counts k / draws times for every pair of the row: the same expectation, by matrix products
instead of a gather for each pair (Ji et al., arXiv:1604.04661, share likewise)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Part, PartConfig, Sum
from modeledge.losses.negative_sampling import negative_sampling


class NegativeSampling(nn.Module, Part):
    """Scores of words against states, and words drawn as noise with probability f^power."""

    class Config(PartConfig):
        """negatives: k, the noise words a pair is weighed against; draws: how many a row draws and shares; power: of
        the frequency."""

        negatives: int = Field(5, ge=1)
        draws: int = Field(64, ge=1)
        power: float = Field(0.75, ge=0)

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.zeros(facts.vocab, backbone.width))  # as the released tool begins
        counts = np.ones(facts.vocab) if facts.counts is None else facts.counts
        noise = np.where(facts.is_special() | (counts <= 0), 0.0, np.maximum(counts, 1e-9) ** config.power)
        self.cumulative = np.cumsum(noise / noise.sum())

    @property
    def share(self) -> float:
        """How often one drawn word counts for a pair."""
        return self.config.negatives / self.config.draws

    def draw(self, rows: int, rng: np.random.Generator) -> Int[np.ndarray, "b n"]:
        """Noise words for each row, independent of each other."""
        u = rng.random((rows, self.config.draws)) * self.cumulative[-1]
        return np.searchsorted(self.cumulative, u, side="right").astype(np.int32)

    def view(self, batch: Batch, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Noise words for the rows."""
        return {"negatives": self.draw(batch.size, rng)}

    def neighbours(
        self, states: Float[Tensor, "b t d"], batch: Batch, pairs: Callable[[], Float[Tensor, "b t s"]]
    ) -> Sum:
        """Each state against the words of its context (`pairs`), and against noise; how many pairs there are."""
        true_pairs, ids, drawn = pairs(), batch.ids, batch.negatives
        true = torch.bmm(states, self.outputs(ids).mT)  # b t t
        noise = torch.bmm(states, self.outputs(drawn).mT)  # b t n
        same = (ids[:, :, None] == drawn[:, None, :]).float()
        rivals = true_pairs.sum(-1, keepdim=True) - torch.bmm(true_pairs, same)  # of which the drawn is not the truth
        return negative_sampling(true, true_pairs, noise, rivals * self.share)

    def words(self, states: Float[Tensor, "b t d"], batch: Batch, asked: Float[Tensor, "b t 1"]) -> Sum:
        """Each state against the word at its own place, where that is asked for, and against noise."""
        true = (states * self.outputs(batch.ids)).sum(-1, keepdim=True)
        noise = torch.bmm(states, self.outputs(batch.negatives).mT)  # b t n
        rivals = asked * (batch.ids[:, :, None] != batch.negatives[:, None, :])
        return negative_sampling(true, asked, noise, rivals * self.share)

    def outputs(self, ids: Int[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        """The output vectors of words."""
        return F.embedding(ids, self.weight)

    def forward(self, states: Float[Tensor, "*n d"]) -> Float[Tensor, "*n v"]:
        """The score of every word of the vocabulary."""
        return states @ self.weight.T
