"""The neighbours of a word, without the word itself: what skip-gram and CBOW call its context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from modeledge.core import Batch


def around(reach: Int[Tensor, "b t"]) -> Callable[..., Tensor]:
    """Up to `reach[b, q]` keys on either side of the query, never the query itself."""

    def near(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return ((q - k).abs() <= reach[b, q]) & (q != k)

    return near


def neighbours(batch: Batch, *, of: Literal["it", "them"] = "it") -> Bool[np.ndarray, "b t w"]:
    """The same by distance, of a numpy batch and within documents: whether the word w - m places on is in the context
    of the one at a place (of=it), or that one in the context of the other (of=them); m is the longest reach."""
    reach = batch.reach
    doc = batch.doc if "doc" in batch else np.zeros_like(reach)
    doc = np.where(batch.valid, doc, -1) if "valid" in batch else doc
    most = max(1, int(reach.max(initial=0)))
    out = np.zeros((*reach.shape, 2 * most + 1), bool)
    for step in range(1, min(most, reach.shape[1] - 1) + 1):
        same = (doc[:, step:] == doc[:, :-step]) & (doc[:, step:] >= 0)
        left, right = same & (reach[:, :-step] >= step), same & (reach[:, step:] >= step)
        out[:, :-step, most + step] = left if of == "it" else right
        out[:, step:, most - step] = right if of == "it" else left
    return out
