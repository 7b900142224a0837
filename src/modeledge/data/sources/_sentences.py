"""Where sentences begin and end, and how whole ones are packed into rows. Computed once when a source is opened."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from modeledge.data.store import Store


def sentence_bounds(store: Store, *, most: int | None = None) -> Int[np.ndarray, " n"]:
    """Begin of every sentence and, last, the end of the tokens; a sentence of more than `most` tokens is cut up."""
    begins = np.asarray(store["sentences"], np.int64)
    bounds = np.append(begins, len(store["tokens"]))
    if most is None or len(begins) == 0:
        return bounds
    sizes = np.diff(bounds)
    pieces = -(-sizes // most)
    if (pieces <= 1).all():
        return bounds
    first = np.repeat(begins, pieces)
    nth = np.arange(len(first)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return np.append(first + nth * most, bounds[-1])


def pack(
    ends: Int[np.ndarray, " n"], begins: Int[np.ndarray, " n"], room: int, stops: np.ndarray | None = None
) -> np.ndarray:
    """Greedy packing of consecutive units [begins, ends) into rows of at most `room` places: the first unit of each
    row.

    A row does not go past the unit in `stops` (the first unit of the next document) of its first unit."""
    after = np.searchsorted(ends, begins + room, side="right")  # the first unit that no longer fits
    if stops is not None:
        after = np.minimum(after, stops)
    after = np.maximum(after, np.arange(len(begins)) + 1)
    rows, at, n = [], 0, len(begins)
    while at < n:
        rows.append(at)
        at = int(after[at])
    return np.array(rows, np.int64)
