"""From what a batch holds to the first states. A kind is built with (config, facts, sizes)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Part, PartConfig
from modeledge.layers import Sizes
from modeledge.layers.positions import Positions


class Embedding(nn.Module, Part):
    """embedding(batch, positions, at): b t d.

    width  at which tokens are embedded, before any projection to the model's width
    word   the token table (v e) where there is one
    grid   rows and columns of patches where the input is a picture"""

    width: int
    word: nn.Module | None
    grid: tuple[int, int] | None

    def __init__(self, config: PartConfig, facts: Facts, sizes: Sizes):
        super().__init__()
        self.width, self.word, self.grid = sizes.width, None, None

    def forward(self, batch: Batch, positions: Positions, at: Int[Tensor, "_ t"]) -> Float[Tensor, "b t d"]:
        raise NotImplementedError

    def places(self, batch: Batch, start: int) -> Int[Tensor, "_ t"]:
        """The position ids of the tokens, of which the first has index `start` unless the batch says otherwise."""
        raise NotImplementedError


class Table(nn.Embedding):
    """A token table: `weight` is v e."""

    @property
    def width(self) -> int:
        """e, the width of a row."""
        return self.embedding_dim
