"""A second table of word vectors, for words as context, and a bias for each word in either role.

Source: GloVe, Pennington et al., EMNLP 2014 eq. 7; initial values as in the released code."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.core import Facts, Part, PartConfig


class Context(nn.Module, Part):
    """head(states, ids, others): the score w . c + b + d of each word with its context."""

    class Config(PartConfig):
        """Nothing to set."""

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(facts.vocab, backbone.width))
        self.word_bias = nn.Parameter(torch.empty(facts.vocab))
        self.bias = nn.Parameter(torch.empty(facts.vocab))
        for values in self.parameters():
            nn.init.uniform_(values, -0.5 / backbone.width, 0.5 / backbone.width)

    def forward(
        self, states: Float[Tensor, "*n d"], ids: Int[Tensor, "*n"], others: Int[Tensor, "*n"]
    ) -> Float[Tensor, "*n"]:
        dots = (states * F.embedding(others, self.weight)).sum(-1)
        return dots + self.word_bias[ids] + self.bias[others]
