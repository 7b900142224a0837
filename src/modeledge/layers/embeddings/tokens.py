"""Token and position vectors and those of further types (segment, language, task), added up.

Sources: BERT, arXiv:1810.04805 §3 (segments, norm); XLM, arXiv:1901.07291 §3.4 (languages); arXiv:1706.03762 §3.4
(scaled by the root of the width); ALBERT, arXiv:1909.11942 §3.1 (a narrow table and a projection)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, PartConfig, RecipeError, Slot, build
from modeledge.layers import Sizes
from modeledge.layers.dropout import Dropout, dropout
from modeledge.layers.embeddings import Embedding, Table
from modeledge.layers.positions import Positions


class Tokens(Embedding):
    """A field `embedded` (b t e) takes the place of the vectors of the tokens of `ids`."""

    class Config(PartConfig):
        """types: rows of the table of each further field of the batch (`{segments: 2}`), whose entries are one a token
        or one a row, 0 where the batch lacks the field; width: of the tables, when they are narrower than the model and
        projected (also when equal: ALBERT projects in any case); norm: after adding up; dropout: default the
        backbone's; omit: the share of the vocabulary that a pass does without, each word in all its places (AWD-LSTM,
        arXiv:1708.02182 §4.3); scale: multiply the token vectors by the root of their width."""

        types: dict[str, Annotated[int, Field(ge=1)]] = {}
        width: int | None = Field(None, ge=1)
        norm: Annotated[PartConfig | None, Slot("layers.norms")] = None
        dropout: float | None = Field(None, ge=0, lt=1)
        omit: float = Field(0.0, ge=0, lt=1)
        scale: Literal["none", "root"] = "none"

    def __init__(self, config: Config, facts: Facts, sizes: Sizes):
        super().__init__(config, facts, sizes)
        self.width = config.width or sizes.width
        self.scale = self.width**0.5 if config.scale == "root" else 1.0
        self.word = Table(facts.vocab, self.width)
        self.words, self.omit = facts.vocab, config.omit
        for field, rows in config.types.items():
            if facts.types.get(field, 0) > rows:
                raise RecipeError(
                    f"backbone.embedding.types.{field}: {rows} rows, and the data has {facts.types[field]} values of"
                    f" {field!r}\n  next: --set backbone.embedding.types.{field}={facts.types[field]}"
                )
        self.types = nn.ModuleDict({field: nn.Embedding(rows, self.width) for field, rows in config.types.items()})
        self.norm = build("layers.norms", config.norm, self.width) if config.norm else nn.Identity()
        self.dropout = Dropout(sizes.dropout if config.dropout is None else config.dropout)
        self.project = nn.Linear(self.width, sizes.width) if config.width else nn.Identity()

    def forward(self, batch: Batch, positions: Positions, at: Int[Tensor, "_ t"]) -> Float[Tensor, "b t d"]:
        x = batch["embedded"] if "embedded" in batch else self.word(batch["ids"])
        x = x if self.scale == 1.0 else self.scale * x
        if self.training and self.omit:
            x = x * dropout(x.new_ones(self.words, 1), self.omit)[batch["ids"]]
        for field, table in self.types.items():
            kinds = batch[field] if field in batch else torch.zeros_like(batch["ids"])
            x = x + table(kinds if kinds.ndim > 1 else kinds[:, None])
        return self.project(self.dropout(self.norm(positions.add(x, at))))

    def places(self, batch: Batch, start: int) -> Int[Tensor, "_ t"]:
        if "positions" in batch:
            return batch["positions"]
        ids = batch["ids"]
        return torch.arange(start, start + ids.shape[1], device=ids.device)[None]
