"""Move sentences about, or begin a document elsewhere: an order of places, to be applied to any field of a row.

Sources: BART, arXiv:1910.13461 §2.2; tokens that move a little, Lample et al., arXiv:1711.00043 §2.3. Not here: all
tokens in random order (spans.shuffle)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int


def permute_sentences(
    n: Int[np.ndarray, " b"], starts: Bool[np.ndarray, "b t"], rng: np.random.Generator
) -> Int[np.ndarray, "b t"]:
    """The sentences of the first n places of each row in random order, each kept whole; places after them stay.

    `starts`: a sentence begins here; the first place begins one in any case."""
    place = np.arange(starts.shape[1])
    begins = starts | (place == 0)
    key = np.take_along_axis(rng.random(starts.shape), np.cumsum(begins, axis=1) - 1, axis=1)
    return np.argsort(np.where(place < n[:, None], key, 2.0), axis=1, kind="stable")


def rotate(n: Int[np.ndarray, " b"], width: int, rng: np.random.Generator) -> Int[np.ndarray, "b t"]:
    """Begin the first n of `width` places at one drawn uniformly; what stood before it goes to their end."""
    place, size = np.arange(width), np.maximum(n, 1)[:, None]
    turn = np.floor(rng.random((len(n), 1)) * size).astype(np.int64)
    return np.where(place < n[:, None], (place + turn) % size, place)


def nudge(n: Int[np.ndarray, " b"], width: int, rng: np.random.Generator, *, reach: float) -> Int[np.ndarray, "b t"]:
    """The first n of `width` places, each moved by less than `reach`; places after them stay."""
    place = np.arange(width)
    moved = place + np.where(place < n[:, None], reach * rng.random((len(n), width)), 2.0 * width)
    return np.argsort(moved, axis=1, kind="stable")
