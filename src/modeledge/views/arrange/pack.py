"""Move what stays to the left and pad the rest: from a mask over a row to a shorter row.

The width is the longest row's, rounded up, so that shapes hardly ever change from batch to batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int


class Packed(NamedTuple):
    """Rows of equal width: ids, padded at the end, and which of them are real."""

    ids: Int[np.ndarray, "b u"]
    valid: Bool[np.ndarray, "b u"]


def pack(
    tokens: Int[np.ndarray, "b t"],
    keep: Bool[np.ndarray, "b t"],
    *,
    pad: int,
    begin: int | None = None,
    end: int | Int[np.ndarray, " b"] | None = None,
    multiple: int = 1,
) -> Packed:
    """`begin` (if given), the kept tokens of each row in order, then `end` (if given, also one a row), then `pad`.

    The width is the longest row's, rounded up to a multiple of `multiple`."""
    b, head = len(tokens), int(begin is not None)
    at = np.flatnonzero(keep)  # of the rows end to end: half the cost of two indices
    found = np.bincount(at // keep.shape[1], minlength=b)
    counts = head + found
    lengths = counts + (end is not None)
    width = -(-max(int(lengths.max(initial=0)), 1) // multiple) * multiple
    ids = np.full((b, width), pad, tokens.dtype)
    before = np.arange(b) * width + head - np.cumsum(found) + found
    ids.reshape(-1)[np.arange(len(at)) + np.repeat(before, found)] = tokens.reshape(-1)[at]
    if begin is not None:
        ids[:, 0] = begin
    if end is not None:
        ids[np.arange(b), counts] = end
    return Packed(ids, np.arange(width) < lengths[:, None])
