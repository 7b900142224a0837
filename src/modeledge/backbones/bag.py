"""A text as the bag of its tokens: their counts through layers with tanh, without order and without words.

Source: DSSM (Huang et al., CIKM 2013) §3.2-3.3: the first layer is a matrix on the counts of letter trigrams, here the
sum of the table's rows of a text's tokens. Not here: the trigrams (tokenizers/trigrams.py)."""

from __future__ import annotations

from collections.abc import Collection

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.backbones._levels import Levels
from modeledge.core import Batch, Facts, Output, Part, PartConfig
from modeledge.layers.activations import ACTIVATIONS, Activation
from modeledge.visibility import Seen


class Bag(nn.Module, Part):
    """`pooled` is the last layer's output; `states` are the rows of the table."""

    class Config(PartConfig):
        """widths: of the layers, the table's first; activation: after every layer."""

        widths: tuple[int, ...] = Field((300, 300, 128), min_length=1)
        activation: Activation = "tanh"

    ordinary: Tensor

    def __init__(self, config: Config, facts: Facts):
        super().__init__()
        self.config, self.width = config, config.widths[-1]
        first, *rest = config.widths
        self.embed = nn.Embedding(facts.vocab, first)
        self.bias = nn.Parameter(torch.zeros(first))
        self.activate = ACTIVATIONS[config.activation]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(config.widths[:-1], rest, strict=True))
        self.register_buffer("ordinary", torch.from_numpy(~facts.is_special()), persistent=False)
        for weight in (self.embed.weight, *(layer.weight for layer in self.layers)):  # type: ignore[union-attr]
            nn.init.xavier_uniform_(weight)  # type: ignore[arg-type]
        for layer in self.layers:
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        return [("embed", "bias"), *((f"layers.{i}",) for i in range(len(self.layers)))]

    def forward(
        self, batch: Batch, seen: Seen | None = None, *, keep: Collection[str] = (), cache: object | None = None
    ) -> Output:
        """Special tokens do not count; what a token may see makes no difference. `keep`: "embedding"."""
        states: Float[Tensor, "b t d"] = self.embed(batch.ids)
        counted = self.ordinary[batch.ids]
        if "valid" in batch:
            counted = counted & batch.valid
        x = self.activate((states * counted[..., None]).sum(1) + self.bias)
        for layer in self.layers:
            x = self.activate(layer(x))
        return Output(states, pooled=x, kept={"embedding": states} if "embedding" in keep else {})
