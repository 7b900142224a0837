"""A softmax over a large vocabulary that trains against a sample of it and is evaluated in full.

Source: Jean et al., arXiv:1412.2007; ELMo's released training code draws 8192 words log-uniformly by rank. One sample
serves all places of a forward pass."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Facts, Part, PartConfig, Sum
from modeledge.losses.linear_cross_entropy import linear_cross_entropy
from modeledge.losses.sampled_softmax import sampled_cross_entropy


class SampledSoftmax(nn.Module, Part):
    """`head(states)` are the scores of all words; `head.loss` trains against a sample."""

    cumulative: Tensor
    log_expected: Tensor

    class Config(PartConfig):
        """negatives: how many words are drawn, with replacement (0: none, the full softmax also in training); noise:
        by rank, p proportional to log((r + 2) / (r + 1)), for vocabularies sorted by falling frequency, or by the
        counts of the training data."""

        negatives: int = Field(8192, ge=0)
        noise: Literal["log_uniform", "unigram"] = "log_uniform"

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__()
        self.config = config
        width: int = backbone.width
        self.weight = nn.Parameter(torch.empty(facts.vocab, width))
        self.bias = nn.Parameter(torch.zeros(facts.vocab))
        nn.init.normal_(self.weight, std=width**-0.5)
        noise = torch.from_numpy(noise_of(facts, config.noise))
        self.register_buffer("cumulative", noise.cumsum(0), persistent=False)
        expected = (noise * max(config.negatives, 1)).log().float()
        self.register_buffer("log_expected", expected, persistent=False)

    def forward(self, states: Float[Tensor, "*m d"]) -> Float[Tensor, "*m v"]:
        """Unnormalised log-probabilities of all words."""
        return F.linear(states, self.weight, self.bias)

    def draw(self) -> Int[Tensor, " n"]:
        """Words of the noise distribution, by torch's generator."""
        u = torch.rand(self.config.negatives, dtype=self.cumulative.dtype, device=self.cumulative.device)
        return torch.searchsorted(self.cumulative, u * self.cumulative[-1], right=True).clamp(max=len(self.weight) - 1)

    def loss(self, states: Float[Tensor, "m d"], labels: Int[Tensor, " m"], *, smoothing: float = 0.0) -> Sum:
        """Cross-entropy over labels != IGNORE: against a sample in training, the full one in evaluation and where it
        is smoothed."""
        if not self.training or self.config.negatives == 0 or smoothing:
            return linear_cross_entropy(states, self.weight, self.bias, labels, smoothing=smoothing)
        return sampled_cross_entropy(
            states, labels, weight=self.weight, bias=self.bias, sample=self.draw(), log_expected=self.log_expected
        )


def noise_of(facts: Facts, noise: str) -> Float[np.ndarray, " v"]:
    """How likely each word is to be drawn; every word is, be it ever so little."""
    if noise == "log_uniform" or facts.counts is None:
        rank = np.arange(facts.vocab)
        return np.log((rank + 2) / (rank + 1)) / np.log(facts.vocab + 1)
    counts = np.maximum(facts.counts, 1.0)
    return counts / counts.sum()
