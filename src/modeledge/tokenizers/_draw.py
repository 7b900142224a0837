"""Cut words into pieces by chance, each way x with a probability in proportion to P(x)^alpha.

Source: subword regularisation, Kudo, arXiv:1804.10959 §3.1, over all ways to cut a word: sums of the ways to each place
from the front, then a walk from the end. Not here: learning the pieces and their probabilities (_unigram.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modeledge.tokenizers._unigram import LONGEST_WORD, lattice, words_of


def draw(
    words: Sequence[str], pieces: Sequence[str], score: np.ndarray, rng: np.random.Generator, *, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the pieces of all words in a row, and how many each has: 0 for one that cannot be cut into these
    pieces, or is too long. score: log-probabilities of the pieces."""
    number = {word: i for i, word in enumerate(sorted({w for w in words if 0 < len(w) <= LONGEST_WORD}))}
    if not number:
        return np.zeros(0, np.int64), np.zeros(len(words), np.int64)
    ways = lattice(words_of(dict.fromkeys(number, 1.0)), pieces)
    own = alpha * score
    sums = ways.forward(own)
    whole = np.where(np.isfinite(sums), sums, 0.0)
    reached = np.cumsum(np.exp(sums[ways.begin] + own[ways.piece] - whole[ways.end]))  # edges of one end lie together
    begins = np.flatnonzero(np.append(True, ways.end[1:] != ways.end[:-1]))
    first, last = np.zeros((2, ways.nodes), np.int64)
    first[ways.end[begins]], last[ways.end[begins]] = begins, np.append(begins[1:], len(ways.end)) - 1
    before = np.append(0.0, reached)[first]  # by node: the weight of the edges before its own

    which = np.array([number.get(w, -1) for w in words], np.int64)
    going = np.flatnonzero(which >= 0)
    going = going[np.isfinite(sums[ways.last[which[going]]])]
    node, found = ways.last[which[going]], []
    while len(going):  # a step a piece
        u = rng.random(len(going)) * (reached[last[node]] - before[node])
        edge = np.clip(np.searchsorted(reached, before[node] + u, side="right"), first[node], last[node])
        found.append((going, ways.piece[edge]))
        node = ways.begin[edge]
        on = node != ways.first[which[going]]
        going, node = going[on], node[on]
    if not found:
        return np.zeros(0, np.int64), np.zeros(len(words), np.int64)
    owner, piece = (np.concatenate(column) for column in zip(*found, strict=True))
    step = np.repeat(np.arange(len(found)), [len(some) for some, _ in found])
    order = np.lexsort((-step, owner))
    return piece[order], np.bincount(owner, minlength=len(words))
