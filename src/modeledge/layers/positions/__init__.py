"""Where a token stands. A scheme acts in one of three places and leaves the others as they are here:

add       something is added to the embedding          learned, sinusoidal, grid, biased
turn      queries and keys are rotated                 rotary
bias      the scores get a term each                   bucketed, biased
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.core import Part, PartConfig
from modeledge.layers import Sizes

Turn = Callable[[Tensor], Tensor]


def stay(x: Tensor) -> Tensor:
    """No rotation."""
    return x


class Positions(nn.Module, Part):
    """A kind is built with (config, sizes)."""

    def __init__(self, config: PartConfig, sizes: Sizes):
        super().__init__()

    def check(self, length: int) -> None:
        """Raise InputError if there are not so many places."""

    def add(
        self, x: Float[Tensor, "b t e"], at: Int[Tensor, "_ t"], grid: tuple[int, int] | None = None
    ) -> Float[Tensor, "b t e"]:
        """The embedding with the places `at` told; `grid`: rows and columns of a picture's patches."""
        return x

    def turn(self, at: Int[Tensor, "_ t"]) -> Turn:
        """What is done to the queries and keys (b h t dh) of the tokens at these places."""
        return stay

    def bias(self, q: Int[Tensor, "*b t"], k: Int[Tensor, "*b s"]) -> Float[Tensor, "_ h t s"] | None:
        """What is added to the scores of queries and keys at these places, the same in every row or told a row; shared
        by all layers."""
        return None
