"""Two texts as one, for rows of texts that are padded at their end."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int


def followed_by(
    n: Int[np.ndarray, " b"], m: Int[np.ndarray, " b"], width: int, *, skip: int = 0
) -> tuple[Bool[np.ndarray, "b t"], Int[np.ndarray, "b t"], Bool[np.ndarray, "b t"]]:
    """Where each place of "the first n tokens of one text, then tokens skip ... m of another" comes from.

    Returns (of the second text, place in its text, real) for `width` places; what does not fit is cut."""
    place = np.arange(width)
    later = place >= n[:, None]
    at = np.where(later, place - n[:, None] + skip, place)
    valid = place < (n + np.maximum(m - skip, 0))[:, None]
    return later, np.where(valid, at, 0), valid
