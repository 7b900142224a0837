"""Choose what to predict and in which order: the permutation language model's view.

Nothing is replaced: the tokens stay and the order decides who sees whom. An order is one number a token, `rank`:
a token sees what has a smaller rank, a token that is not predicted also sees what has its own rank.
Source: XLNet, arXiv:1906.08237 §2.2-2.3 and the released data builder. Not here: the two streams (backbones)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from modeledge.views.corrupt.mask import choose_exactly

GRAMS = 5
"""Longest span to predict."""
CONTEXT = 6
"""A span of n tokens is drawn inside 6n tokens of context (the released mask_alpha)."""


def choose_spans(
    maskable: Bool[np.ndarray, "b t"],
    rng: np.random.Generator,
    *,
    wanted: Int[np.ndarray, " b"],
    word_starts: Bool[np.ndarray, "b t"] | None = None,
) -> Bool[np.ndarray, "b t"]:
    """Exactly `wanted` tokens of each row: spans of 1 to 5 tokens, p(n) proportional to 1/n, the rest single tokens.

    Spans lie one after the other, each somewhere inside its own stretch of 7n tokens, so they alone make one token in
    seven; single tokens drawn from anywhere bring the count to `wanted`. With `word_starts` a span begins at the next
    word. As in the released builder, lengths count tokens."""
    b, t = maskable.shape
    grams = np.arange(1, GRAMS + 1)
    blocks = t // (1 + CONTEXT) + 1
    draws, n = rng.random((b, blocks)), np.ones((b, blocks), np.int64)
    for share in np.cumsum(1 / grams[:-1]) / np.sum(1 / grams):
        n += draws >= share  # half of what `rng.choice` takes, the same numbers
    stretch = n * (1 + CONTEXT)
    begin = np.cumsum(stretch, axis=1) - stretch + np.floor(rng.random((b, blocks)) * n * CONTEXT).astype(np.int64)
    if word_starts is not None:
        begin = np.take_along_axis(_next(word_starts), np.minimum(begin, t), axis=1)
    inside = begin + n <= t
    first, sizes = (np.arange(0, b * t, t)[:, None] + begin)[inside], n[inside]
    ends = np.cumsum(sizes)
    chosen = np.zeros((b, t), bool)
    chosen.reshape(-1)[np.arange(sizes.sum()) + np.repeat(first - ends + sizes, sizes)] = True
    chosen &= maskable
    found = chosen.sum(axis=1)
    if (much := found > wanted).any():
        chosen[much] &= np.cumsum(chosen[much], axis=1) <= wanted[much, None]
        found = np.minimum(found, wanted)
    return chosen | choose_exactly(maskable & ~chosen, wanted - found, rng)


def _next(starts: Bool[np.ndarray, "b t"]) -> Int[np.ndarray, "b t+1"]:
    """For each place the nearest start at or after it; t where there is none."""
    b, t = starts.shape
    at = np.full((b, t + 1), t, np.int32)
    at[:, :t] = np.where(starts, np.arange(t, dtype=np.int32), np.int32(t))
    return np.minimum.accumulate(at[:, ::-1], axis=1)[:, ::-1]


def factorise(
    predicted: Bool[np.ndarray, "b t"],
    free: Bool[np.ndarray, "b t"],
    rng: np.random.Generator,
    *,
    block: int | None = None,
) -> Int[np.ndarray, "b t"]:
    """A factorisation order: the rank of each token, drawn uniformly.

    Tokens that are `free` (neither predicted nor functional such as [CLS]) come first, at rank -1, and all see each
    other; the others follow in random order. With `block` every stretch of that many tokens has its own order and
    comes after the stretch before it: nothing of it is seen from there, so the states of the first stretch are a
    memory that knows no later token. Raises ValueError if a free token is to be predicted."""
    if (predicted & free).any():
        raise ValueError("a token that is predicted cannot be free")
    b, t = predicted.shape
    size = block or t
    stretches = -(-t // size)
    rank = np.broadcast_to(np.arange(t) // size * (size + 1) - 1, (b, t)).copy()  # free tokens: the first of a stretch
    held = np.flatnonzero(~free)
    stretch = held // t * stretches + held % t // size
    order = np.argsort(stretch + rng.random(len(held)))  # shuffled inside each stretch
    counts = np.bincount(stretch, minlength=b * stretches)
    nth = np.arange(len(held)) - np.repeat(np.cumsum(counts) - counts, counts)
    rank.ravel()[held[order]] += 1 + nth
    return rank
