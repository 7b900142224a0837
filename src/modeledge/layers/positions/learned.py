"""A learned vector for each place, added to the embedding: BERT, GPT, RoBERTa (whose first place is row 2)."""

from __future__ import annotations

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import InputError, PartConfig
from modeledge.layers import Sizes
from modeledge.layers.positions import Positions


class Learned(Positions):
    class Config(PartConfig):
        """max: rows of the table; offset: the row of the first place (rows before it are never used)."""

        max: int = Field(512, ge=1)
        offset: int = Field(0, ge=0)

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        self.table = nn.Embedding(config.max, sizes.embedded or sizes.width)
        self.offset = config.offset

    def check(self, length: int) -> None:
        places = self.table.num_embeddings - self.offset
        if length > places:
            raise InputError(
                f"backbone.positions.max: rows are {length} tokens long and the table has {places} places\n"
                "  next: shorten the rows (data.<name>.length), or train with more places"
            )

    def add(
        self, x: Float[Tensor, "b t e"], at: Int[Tensor, "_ t"], grid: tuple[int, int] | None = None
    ) -> Float[Tensor, "b t e"]:
        return x + self.table(at + self.offset)
