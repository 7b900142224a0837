"""Choose tokens and replace them: the masked language model's view, and its choices of units and counts.

Source: BERT, arXiv:1810.04805 §3.1 and the released data builder. Not here: spans named by sentinels (spans.py),
factorisation orders (permute.py)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt

from modeledge.core import IGNORE, Draws


def choose_exactly(
    allowed: Bool[np.ndarray, "b t"], wanted: Int[np.ndarray, " b"], rng: Draws
) -> Bool[np.ndarray, "b t"]:
    """`wanted[i]` of the allowed places of row i, every set of that size equally likely; all, if there are fewer."""
    keys, _ = _keys(allowed, rng)
    last = np.clip(wanted - 1, 0, allowed.shape[1] - 1)
    bound = np.sort(keys, axis=1)[np.arange(len(keys)), last]  # no two keys of a row are equal
    return allowed & (keys <= bound[:, None]) & (wanted > 0)[:, None]


def random_order(first: Bool[np.ndarray, "b t"], rng: Draws) -> Int[np.ndarray, "b t"]:
    """The places of each row: those that come `first` in random order, then the others."""
    keys, bits = _keys(first, rng)
    keys.sort(axis=1)
    return (keys & keys.dtype.type((1 << bits) - 1)).astype(np.int64)


def _keys(first: Bool[np.ndarray, "b t"], rng: Draws) -> tuple[UInt[np.ndarray, "b t"], int]:
    """A number for each place, random but smaller for those that come `first`; its last `bits` are the place.

    They share one integer, because sorting integers is many times as fast as argsort."""
    t = first.shape[1]
    bits = max(1, (t - 1).bit_length())
    dtype, size = (np.uint32, 32) if bits <= 12 else (np.uint64, 64)
    keys = rng.integers(0, 1 << (size - 1 - bits), first.shape, dtype=dtype)
    keys <<= dtype(bits)
    keys |= np.arange(t, dtype=dtype)
    last = (~first).astype(dtype)
    last <<= dtype(size - 1)
    keys |= last
    return keys, bits


def budget(maskable: Bool[np.ndarray, "b t"], *, rate: float, most: int | None = None) -> Int[np.ndarray, " b"]:
    """round(rate * n) of the n maskable tokens of each row, at least one (if n > 0) and at most `most`.

    The released BERT builder's way; its cap of 20 belongs to rows of 128 tokens, so set `most` with the length."""
    n = maskable.sum(axis=1)
    wanted = np.maximum(1, np.round(rate * n)).astype(np.int64)
    return np.minimum(wanted, n if most is None else np.minimum(n, most))


def choose_count(
    maskable: Bool[np.ndarray, "b t"], rng: Draws, *, rate: float, most: int | None = None
) -> Bool[np.ndarray, "b t"]:
    """A fixed count a row (`budget`), without replacement."""
    return choose_exactly(maskable, budget(maskable, rate=rate, most=most), rng)


def choose_rare(
    maskable: Bool[np.ndarray, "b t"],
    weights: Float[np.ndarray, "b t"],
    rng: Draws,
    *,
    rate: float,
    most: int | None = None,
) -> Bool[np.ndarray, "b t"]:
    """A fixed count a row (`budget`), drawn one after the other with chances proportional to `weights`, none twice.

    The first tokens of exponential clocks that run at the speed of their weights are such a draw."""
    wait = -np.log1p(-rng.random(maskable.shape, dtype=np.float32)) / weights
    order = np.argsort(np.where(maskable, wait, np.inf), axis=1, kind="stable")
    chosen = np.zeros_like(maskable)
    wanted = budget(maskable, rate=rate, most=most)
    np.put_along_axis(chosen, order, np.arange(maskable.shape[1]) < wanted[:, None], axis=1)
    return chosen & maskable


def choose_each(maskable: Bool[np.ndarray, "b t"], rng: Draws, *, rate: float) -> Bool[np.ndarray, "b t"]:
    """Each maskable token independently with probability `rate`."""
    return maskable & (rng.random(maskable.shape, dtype=np.float32) < rate)


def choose_marked(
    maskable: Bool[np.ndarray, "b t"],
    marked: Bool[np.ndarray, "b t"],
    rng: Draws,
    *,
    rate: float,
    most: int | None = None,
) -> Bool[np.ndarray, "b t"]:
    """The marked tokens of each row; if there are more than its `budget`, so many of them. Nothing else fills it up.

    Source: Gu et al., arXiv:2004.09733, and the released data builder, which hides no other tokens either. It keeps the
    surest of a sentence; here chance decides."""
    return choose_exactly(maskable & marked, budget(maskable, rate=rate, most=most), rng)


def choose_mention(
    maskable: Bool[np.ndarray, "b t"],
    mentions: Int[np.ndarray, "b t"],
    starts: Bool[np.ndarray, "b t"],
    rng: Draws,
    *,
    most: int | None = None,
) -> Bool[np.ndarray, "b t"]:
    """One mention of each row, all its tokens, drawn evenly among those of at most `most` tokens.

    mentions: what each token is a mention of (-1: of nothing); starts: tokens that begin one, or a word outside them.
    Source: salient spans, REALM, arXiv:2002.08909 §3.4."""
    unit = word_ids(starts)
    size = np.zeros((len(unit), unit.shape[1] + 1), np.int64)
    np.add.at(size, (np.arange(len(unit))[:, None], np.where(maskable, unit, unit.shape[1])), 1)
    short = np.take_along_axis(size, unit, axis=1) <= (most or unit.shape[1])
    first = choose_exactly(starts & maskable & (mentions >= 0) & short, np.ones(len(unit), np.int64), rng)
    own = np.where(first.any(1), np.take_along_axis(unit, first.argmax(1)[:, None], 1)[:, 0], -1)
    return (unit == own[:, None]) & maskable & (mentions >= 0)


def word_ids(word_starts: Bool[np.ndarray, "b t"]) -> Int[np.ndarray, "b t"]:
    """Number the words of each row 0, 1, ...; a token before the first start belongs to word 0."""
    return np.maximum(np.cumsum(word_starts, axis=1) - 1, 0)


def runs_of(chosen: Bool[np.ndarray, "b t"]) -> Int[np.ndarray, "b t"]:
    """Number the stretches of each row that are chosen without a gap, in order; arbitrary where nothing is."""
    before = np.zeros_like(chosen)
    before[:, 1:] = chosen[:, :-1]
    return word_ids(chosen & ~before)


def choose_words(
    maskable: Bool[np.ndarray, "b t"],
    words: Int[np.ndarray, "b t"],
    rng: Draws,
    *,
    rate: float,
    most: int | None = None,
    lengths: Float[np.ndarray, " n"] | None = None,
) -> Bool[np.ndarray, "b t"]:
    """Whole words, all of a word's tokens or none, until `budget` tokens of each row are chosen; at least one word.

    `lengths` are the probabilities of runs of 1, 2, ... words (ALBERT: proportional to 1/n); None: single words.
    Runs are taken in random order. The one that would overshoot the budget is taken with the probability that makes
    the expected count exactly the budget, so that the rate holds although words differ in length.
    Source: ALBERT, arXiv:1909.11942 §4.1 (n-grams over the ordinary words, special tokens between them left out)."""
    b, t = maskable.shape
    begin = np.arange(0, b * t, t)[:, None]  # of the rows end to end: one index costs a third of two
    words = np.where(maskable, words, 0) + begin
    size = np.zeros(b * t, np.int64)
    np.add.at(size, words.ravel(), maskable.ravel().astype(np.int64))
    exists = (size > 0).reshape(b, t)
    run = _runs(exists, rng, lengths) + begin
    cost = np.zeros(b * t, np.int64)
    np.add.at(cost, run.ravel(), size)
    order = random_order(cost.reshape(b, t) > 0, rng) + begin
    paid = cost.take(order, mode="clip")
    before = np.cumsum(paid, axis=1) - paid
    left = budget(maskable, rate=rate, most=most)[:, None] - before
    keep = rng.random((b, 1), dtype=np.float32) * paid < left
    keep[:, 0] = True
    taken = np.zeros(b * t, bool)
    taken[order] = keep
    chosen_word = taken.take(run, mode="clip") & exists
    return chosen_word.take(words, mode="clip") & maskable


def _runs(
    exists: Bool[np.ndarray, "b t"], rng: Draws, lengths: Float[np.ndarray, " n"] | None
) -> Int[np.ndarray, "b t"]:
    """Cut each row's existing words into consecutive runs whose lengths are drawn from `lengths`: each word's run."""
    b, t = exists.shape
    place = np.maximum(np.cumsum(exists, axis=1) - 1, 0)
    if lengths is None:
        return place
    ends = np.cumsum(rng.choice(len(lengths), size=(b, t), p=lengths) + 1, axis=1)  # run r ends before place ends[r]
    starts = np.zeros((b, t + 1), np.int64)
    np.put_along_axis(starts, np.minimum(ends, t), 1, axis=1)
    return np.take_along_axis(np.cumsum(starts[:, :t], axis=1), place, axis=1)


def replace(
    ids: Integer[np.ndarray, "b t"],
    chosen: Bool[np.ndarray, "b t"],
    rng: Draws,
    *,
    mask: int,
    words: tuple[int, int],
    shares: tuple[float, float] = (0.8, 0.1),
    units: Int[np.ndarray, "b t"] | None = None,
) -> tuple[Integer[np.ndarray, "b t"], Int[np.ndarray, "b t"]]:
    """Replace chosen tokens by the mask id, by a random ordinary token, or not at all; and the labels.

    `shares`: of [MASK] and of random tokens, the rest keeps its token (BERT: 0.8, 0.1), decided per token, or once for
    the tokens of a row that have the same number in `units`. `words` is (first, end) of ordinary ids, so that a random
    token is never a special one. Returns (ids, labels), labels IGNORE elsewhere."""
    at = np.flatnonzero(chosen)  # of the rows end to end: half the cost of two indices
    row = at // chosen.shape[1]
    count = np.bincount(row, minlength=len(ids))
    nth = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)  # of its row; draws are made for these only
    shape = len(ids), int(count.max(initial=0))
    if units is None:
        u = rng.random(shape, dtype=np.float32)[row, nth]
    else:
        u = rng.random(ids.shape, dtype=np.float32)[row, units.reshape(-1)[at]]
    noise = rng.integers(*words, shape, dtype=ids.dtype.type)[row, nth]
    hidden, labels = ids.flatten(), np.full(ids.size, IGNORE, np.int64)
    shown = hidden[at]
    hidden[at] = np.where(u < shares[0], mask, np.where(u < shares[0] + shares[1], noise, shown))
    labels[at] = shown
    return hidden.reshape(ids.shape), labels.reshape(ids.shape)
