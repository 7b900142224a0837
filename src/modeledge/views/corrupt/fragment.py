"""One contiguous fragment of a row. Source: MASS, arXiv:1905.02450 §3.1 and the released code (where it begins)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

EDGES = 0.2
"""The share of fragments that begin the text, and of those that end it; the rest lie anywhere."""


def choose_fragment(
    n: Int[np.ndarray, " b"], rng: np.random.Generator, *, rate: float
) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """Begin and size of a fragment of round(rate * n) of n tokens, at least one: int64 b each."""
    size = np.clip(np.round(rate * n), 1, n).astype(np.int64)
    rest = n - size
    u = rng.random(len(n))
    anywhere = np.floor(rng.random(len(n)) * (rest + 1)).astype(np.int64)
    return np.select([u < EDGES, u < 2 * EDGES], [0, rest], anywhere), size
