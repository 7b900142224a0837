"""Which words of a text a classifier decides by: read one after the other, those that make it nearly as sure as the
whole text does.

Source: Gu et al., arXiv:2004.09733. Not here: how a model is asked (run/mark.py)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

Score = Callable[[Int[np.ndarray, " n"], Bool[np.ndarray, "n w"]], Float[np.ndarray, " n"]]
"""How sure the classifier is of the right class of these texts (by number) when it sees these of their words alone."""


def important(sizes: Int[np.ndarray, " b"], score: Score, *, threshold: float) -> Bool[np.ndarray, "b w"]:
    """Which words of texts of `sizes` words are important; False beyond the end of a text.

    Each text has a buffer, empty at first, and offers it one word after the other: a word is important if the buffer
    with it falls short of the whole text by less than `threshold`, a probability, and is then left out again, so that
    the next one is judged without it; any other word stays. All texts are at the same word at the same time, so the
    calls of `score` are as many as the longest text has words, and one for the whole texts."""
    whole = np.arange(int(sizes.max(initial=0))) < sizes[:, None]
    found, buffer = np.zeros_like(whole), np.zeros_like(whole)
    sure = score(np.arange(len(sizes)), whole)
    for place in range(whole.shape[1]):
        rows = np.flatnonzero(whole[:, place])
        shown = buffer[rows]
        shown[:, place] = True
        near = sure[rows] - score(rows, shown) < threshold
        found[rows, place], buffer[rows, place] = near, ~near
    return found
