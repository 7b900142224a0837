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
    b, t = ids.shape
    place = np.arange(t)
    end_a = kept + 1 + np.floor(rng.random((b, 1)) * (t - kept - 4)).astype(np.int64)  # where A's sep stands
    elsewhere = rng.random((b, 1)) < random_rate
    text = np.where(elsewhere & (place >= end_a), np.roll(ids, -1, axis=0), ids)
    moved = np.take_along_axis(text, np.broadcast_to(np.where(place > end_a, place - 1, place), (b, t)), axis=1)
    special = (place == end_a) | (place >= t - 2)
    out = np.where(special, ids.dtype.type(sep), moved)
    out[:, -1] = cls
    segments = (place > end_a).astype(np.int8)
    segments[:, -1] = 2
    return Paired(out, segments, special)
