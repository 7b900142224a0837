"""The neighbours of a word, without the word itself: what skip-gram and CBOW call its context."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Int
from torch import Tensor


def around(reach: Int[Tensor, "b t"]) -> Callable[..., Tensor]:
    """Up to `reach[b, q]` keys on either side of the query, never the query itself."""

    def near(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return ((q - k).abs() <= reach[b, q]) & (q != k)

    return near
