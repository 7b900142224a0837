"""A word read letter by letter: filters over runs of characters, the largest value of each, gates, a projection.

Source: ELMo, arXiv:1802.05365 §3.4, after Kim et al., arXiv:1508.06615; the numbers are those of the released training
configuration. A word's vector does not depend on its place, so each distinct word of a batch is computed once.

Not here: which characters a word has (tokenizers/chars.py)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, PartConfig, RecipeError
from modeledge.layers import Sizes
from modeledge.layers.embeddings import Embedding
from modeledge.layers.positions import Positions

FILTERS = [(1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024)]
ROWS = 262
"""256 bytes, five marks, and 0 for places that are no character at all: its vector is zero and stays so."""


class Characters(Embedding):
    """words: the characters of every word of the vocabulary, v c, from the tokenizer; None without one."""

    words: Tensor | None

    class Config(PartConfig):
        """width: of a character; filters: (characters spanned, how many) pairs; highways: layers of gates."""

        width: int = Field(16, ge=1)
        filters: list[tuple[int, int]] = Field(FILTERS, min_length=1)
        highways: int = Field(2, ge=0)

    def __init__(self, config: Config, facts: Facts, sizes: Sizes):
        super().__init__(config, facts, sizes)
        self.character = nn.Embedding(ROWS, config.width, padding_idx=0)
        self.filters = nn.ModuleList(filter_of(config.width, span, count) for span, count in config.filters)
        found = sum(count for _, count in config.filters)
        self.highways = nn.ModuleList(Highway(found) for _ in range(config.highways))
        self.project = nn.Linear(found, sizes.width)
        table = getattr(facts.tokenizer, "characters", None)  # derived from the tokenizer, so not saved with the model
        table = None if table is None else torch.from_numpy(table.astype("int64"))
        self.register_buffer("words", table, persistent=False)
        nn.init.uniform_(self.character.weight, -1, 1)  # first weights, here and below, as in the released code
        with torch.no_grad():
            self.character.weight[0] = 0
        nn.init.normal_(self.project.weight, std=found**-0.5)
        nn.init.zeros_(self.project.bias)

    def forward(self, batch: Batch, positions: Positions, at: Int[Tensor, "_ t"]) -> Float[Tensor, "b t d"]:
        """The vectors of the words: of `chars` (b t c) if the batch has them, else of `ids` by the tokenizer.

        A word without characters (padding) gets zeros."""
        if "chars" in batch:
            x = self.spell(batch.chars.flatten(0, 1)).unflatten(0, batch.chars.shape[:2])
        elif self.words is None:
            raise RecipeError(
                "backbone.embedding: `chars` needs the tokenizer `chars`, which knows each word's characters"
            )
        else:
            distinct, where = batch.ids.unique(return_inverse=True)
            x = self.spell(self.words[distinct])[where]
        return positions.add(x, at)

    def spell(self, chars: Int[Tensor, "n c"]) -> Float[Tensor, "n d"]:
        """The vector of each word, from its characters alone."""
        letters = self.character(chars).mT  # n e c
        x = torch.cat([conv(letters).amax(-1) for conv in self.filters], -1).relu()
        for highway in self.highways:
            x = highway(x)
        return self.project(x) * (chars != 0).any(-1, keepdim=True)

    def places(self, batch: Batch, start: int) -> Int[Tensor, "_ t"]:
        rows = batch.chars if "chars" in batch else batch.ids
        return torch.arange(start, start + rows.shape[1], device=rows.device)[None]


def filter_of(width: int, span: int, count: int) -> nn.Conv1d:
    """`count` filters over runs of `span` characters."""
    made = nn.Conv1d(width, count, span)
    nn.init.uniform_(made.weight, -0.05, 0.05)
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made


class Highway(nn.Module):
    """gate * relu(W x) + (1 - gate) * x, the gate nearly shut at first (arXiv:1505.00387)."""

    def __init__(self, width: int):
        super().__init__()
        self.carry, self.change = nn.Linear(width, width), nn.Linear(width, width)
        for layer in (self.carry, self.change):
            nn.init.normal_(layer.weight, std=width**-0.5)
        nn.init.constant_(self.carry.bias, -2.0)
        nn.init.zeros_(self.change.bias)

    def forward(self, x: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
        gate = self.carry(x).sigmoid()
        return gate * self.change(x).relu() + (1 - gate) * x
