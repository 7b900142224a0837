"""Hide runs of tokens and give them names: every objective is a noise mask, a way to show the input, a way to ask.

A mask says which tokens are noise. `show` turns (ids, mask) into tokens and which of them stay, all of the shape of
the ids; `arrange.pack` moves those that stay to the left. What to show and what to ask are five and three ways of the
same function, so the T5 paper's table of objectives is a table of settings.
Source: T5, arXiv:1910.10683 §3.3 and the released preprocessors. Not here: [MASK] for single tokens (mask.py)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from modeledge.views.corrupt.mask import choose_exactly


def noise_spans(
    n: Int[np.ndarray, " b"], width: int, rng: np.random.Generator, *, rate: float, span: float
) -> Bool[np.ndarray, "b t"]:
    """A mask over the first n of `width` places of each row with round(rate * n) noise tokens in spans of mean `span`.

    round(noise / span) spans; a row begins with an ordinary token and ends with noise, and every mask of these counts
    is equally likely: the noise and the rest are each cut at random places into the same number of pieces, which
    alternate. Rows of fewer than two tokens have no noise. Source: T5's random_spans_noise_mask."""
    noise = np.clip(np.round(rate * n), 1, np.maximum(n - 1, 1)).astype(np.int64)
    noise = np.where(n < 2, 0, noise)
    rest = n - noise
    spans = np.clip(np.round(noise / span).astype(np.int64), np.minimum(noise, 1), rest)
    hidden, shown = _cut(noise, spans, width, rng), _cut(rest, spans, width, rng)  # lengths: b spans
    ends = np.cumsum(hidden + shown, axis=1)
    exists = np.arange(hidden.shape[1]) < spans[:, None]
    step = np.zeros((len(n), width + 1), np.int64)
    row = np.broadcast_to(np.arange(len(n))[:, None], ends.shape)
    np.add.at(step, (row[exists], (ends - hidden)[exists]), 1)
    np.add.at(step, (row[exists], ends[exists]), -1)
    return np.cumsum(step[:, :width], axis=1) > 0


def _cut(
    items: Int[np.ndarray, " b"], pieces: Int[np.ndarray, " b"], width: int, rng: np.random.Generator
) -> Int[np.ndarray, "b s"]:
    """Lengths of `pieces` non-empty pieces of a row of `items`, all compositions equally likely; 0 past the last."""
    gap = np.arange(1, width) < items[:, None]
    cut = choose_exactly(gap, pieces - 1, rng)
    piece = np.zeros((len(items), width), np.int64)
    piece[:, 1:] = np.cumsum(cut, axis=1)
    lengths = np.zeros((len(items), max(int(pieces.max(initial=1)), 1)), np.int64)
    row, column = np.nonzero(np.arange(width) < items[:, None])
    np.add.at(lengths, (row, piece[row, column]), 1)
    return lengths


def noise_tail(n: Int[np.ndarray, " b"], width: int, rng: np.random.Generator) -> Bool[np.ndarray, "b t"]:
    """Everything from a uniformly drawn place on (never the first token, at least the last): the prefix language model.

    Rows of fewer than two tokens have no noise."""
    split = 1 + np.floor(rng.random((len(n), 1)) * np.maximum(n - 1, 1)[:, None]).astype(np.int64)
    place = np.arange(width)
    return (place >= split) & (place < n[:, None])


def span_starts(noise: Bool[np.ndarray, "b t"]) -> Bool[np.ndarray, "b t"]:
    """The first token of every noise span."""
    before = np.zeros_like(noise)
    before[:, 1:] = noise[:, :-1]
    return noise & ~before


def at_most(noise: Bool[np.ndarray, "b t"], spans: int) -> Bool[np.ndarray, "b t"]:
    """The first `spans` noise spans of each row; the tokens of later ones are ordinary again."""
    return noise & (np.cumsum(span_starts(noise), axis=1) <= spans)


Shown = tuple[Int[np.ndarray, "b t"], Bool[np.ndarray, "b t"]]
"""Tokens and which of them stay."""


def show_masked(
    ids: Int[np.ndarray, "b t"],
    noise: Bool[np.ndarray, "b t"],
    rng: np.random.Generator,
    *,
    mask: int,
    words: tuple[int, int],
    random_rate: float = 0.0,
) -> Shown:
    """Every noise token becomes the mask, or with `random_rate` a random ordinary token (T5's BERT-style: 0.1)."""
    random = rng.integers(*words, ids.shape, dtype=ids.dtype)
    drawn = rng.random(ids.shape, dtype=np.float32) < random_rate
    return np.where(noise, np.where(drawn, random, ids.dtype.type(mask)), ids), np.ones_like(noise)


def show_dropped(ids: Int[np.ndarray, "b t"], noise: Bool[np.ndarray, "b t"]) -> Shown:
    """Noise tokens are left out. With the mask inverted: only noise tokens stay, which is the target."""
    return ids, ~noise


def show_sentinels(
    ids: Int[np.ndarray, "b t"], noise: Bool[np.ndarray, "b t"], *, sentinels: Int[np.ndarray, " k"]
) -> Shown:
    """The i-th noise span becomes the i-th sentinel. With the mask inverted: the target that names what it fills in.

    A mask that begins with an ordinary token gives its i-th span the same sentinel on both sides. Raises ValueError
    if a row has more spans than there are sentinels (`at_most` keeps them within)."""
    starts = span_starts(noise)
    number = np.cumsum(starts, axis=1) - 1
    if number.size and number.max() >= len(sentinels):
        raise ValueError(f"{int(number.max()) + 1} spans in a row and only {len(sentinels)} sentinels")
    names = np.asarray(sentinels, ids.dtype)[np.maximum(number, 0)] if len(sentinels) else ids
    return np.where(starts, names, ids), starts | ~noise


def shuffle(ids: Int[np.ndarray, "b t"], n: Int[np.ndarray, " b"], rng: np.random.Generator) -> Int[np.ndarray, "b t"]:
    """The first n tokens of each row in random order (deshuffling's input); what stands after them stays."""
    score = rng.random(ids.shape)
    inside = np.arange(ids.shape[1]) < n[:, None]
    order = np.argsort(np.where(inside, score, 2.0 + np.arange(ids.shape[1])), axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1)
