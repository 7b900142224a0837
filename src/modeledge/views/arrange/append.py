"""Lay the end of a row out as a pair of segments: text that goes on, then [A sep B sep cls].

Source: XLNet, arXiv:1906.08237 §2.5 and the released data builder. Not here: pairs made of sentences (data sources)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

LEAST = 5
"""Places that a pair takes: a token of each segment, two separators and cls."""


class Paired(NamedTuple):
    """ids, segment ids (0 for A and all before it, 1 for B, 2 for cls), and which tokens were put in."""

    ids: Int[np.ndarray, "b t"]
    segments: Int[np.ndarray, "b t"]
    special: Bool[np.ndarray, "b t"]


def append_pair(
    ids: Int[np.ndarray, "b t"], rng: np.random.Generator, *, kept: int, sep: int, cls: int, random_rate: float = 0.5
) -> Paired:
    """The first `kept` tokens as they are, what follows them cut at a random place into A and B.

    With `random_rate` B comes from the next row of the batch instead. The last three tokens of each row make room.
    `LEAST` places must follow those that are kept."""
    (b, t), row = ids.shape, np.arange(len(ids))
    end_a = kept + 1 + np.floor(rng.random(b) * (t - kept - 4)).astype(np.int64)  # where A's sep stands
    elsewhere = rng.random(b) < random_rate
    out, segments, special = ids.copy(), np.zeros((b, t), np.int8), np.zeros((b, t), bool)
    first = kept + 2  # place that B can begin at, one behind where its text stood
    after = np.arange(first, t) > end_a[:, None]
    np.copyto(out[:, first:], ids[np.where(elsewhere, (row + 1) % b, row), first - 1 : -1], where=after)
    segments[:, first:] = after
    out[row, end_a] = out[:, -2] = sep
    special[row, end_a] = special[:, -2:] = True
    out[:, -1], segments[:, -1] = cls, 2
    return Paired(out, segments, special)
