"""Inputs and labels one step apart: what a causal model and a decoder learn from."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from modeledge.core import IGNORE


def next_tokens(
    ids: Int[np.ndarray, "b t"],
    *,
    valid: Bool[np.ndarray, "b t"] | None = None,
    doc: Int[np.ndarray, "b t"] | None = None,
) -> Int[np.ndarray, "b t"]:
    """At each place the token that follows; IGNORE at the row's end, before padding (`valid`), and across a document
    boundary where `doc` is given."""
    labels = np.full(ids.shape, IGNORE, np.int64)
    labels[:, :-1] = ids[:, 1:]
    if valid is not None:
        labels[:, :-1][~(valid[:, 1:] & valid[:, :-1])] = IGNORE
    if doc is not None:
        labels[:, :-1][doc[:, 1:] != doc[:, :-1]] = IGNORE
    return labels


def shift_right(ids: Int[np.ndarray, "b u"], *, start: int | Int[np.ndarray, " b"]) -> Int[np.ndarray, "b u"]:
    """A decoder's input: `start` (for all rows, or one a row), then all but the last token."""
    shifted = np.empty_like(ids)
    shifted[:, 0] = start
    shifted[:, 1:] = ids[:, :-1]
    return shifted
