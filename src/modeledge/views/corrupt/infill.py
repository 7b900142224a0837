"""Hide runs of words, each behind one mask whatever its length, so that a model must also tell how many are missing.

Source: BART, arXiv:1910.13461 §2.2 (text infilling) and the released noising (a budget of words, whole words). Not
here: spans with names (spans.py), sentences and documents (order.py)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from modeledge.views.corrupt.mask import choose_exactly


def infill(
    ids: Int[np.ndarray, "b t"],
    n: Int[np.ndarray, " b"],
    word_starts: Bool[np.ndarray, "b t"] | None,
    rng: np.random.Generator,
    *,
    rate: float,
    span: float,
    mask: int,
) -> tuple[Int[np.ndarray, "b u"], Bool[np.ndarray, "b u"]]:
    """Of the first n tokens of each row ceil(rate * words) words are hidden in spans of Poisson length, mean `span`.

    The lengths are drawn until the budget is reached and the last is cut to it; spans of no word put a mask between
    two words and cost nothing. Every arrangement of the spans among the other words is equally likely; two may touch.
    Without `word_starts` every token is a word. The rows become longer where masks outnumber what they hide."""
    b, t = ids.shape
    row, place = np.arange(b)[:, None], np.arange(t)
    inside = place < n[:, None]
    starts = inside & ((place == 0) | (True if word_starts is None else word_starts))
    words = starts.sum(axis=1)
    lengths, spans = _lengths(np.ceil(rate * words).astype(np.int64), rng, span=span)

    items = words - lengths.sum(axis=1) + spans  # what the row is made of now: words that stay, and spans
    most = max(int(items.max(initial=0)), 1)
    exists = np.arange(most) < items[:, None]
    is_span = choose_exactly(exists, spans, rng)
    drawn = np.take_along_axis(lengths, np.maximum(np.cumsum(is_span, axis=1) - 1, 0), axis=1)
    covers = np.where(is_span, drawn, exists)  # words an item stands for
    first = np.minimum(np.cumsum(covers, axis=1) - covers, t)

    word = np.where(inside, np.cumsum(starts, axis=1) - 1, t)
    size = np.zeros((b, t + 1), np.int64)  # tokens of each word; column t collects what is outside
    np.add.at(size, (np.broadcast_to(row, word.shape), word), 1)
    shown = np.where(is_span, 1, np.take_along_axis(size, first, axis=1)) * exists
    begin = np.cumsum(shown, axis=1) - shown

    target = np.full((b, t + 1), -1, np.int64)  # where each word that stays begins
    stays = exists & ~is_span
    r, i = np.nonzero(stays)
    target[r, first[r, i]] = begin[r, i]
    at = np.take_along_axis(target, word, axis=1)
    r, column = np.nonzero(inside & (at >= 0))
    word_begin = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    total = shown.sum(axis=1)
    out = np.full((b, max(int(total.max(initial=0)), 1)), mask, ids.dtype)
    out[r, (at + place - word_begin)[r, column]] = ids[r, column]
    return out, np.arange(out.shape[1]) < total[:, None]


def _lengths(
    budget: Int[np.ndarray, " b"], rng: np.random.Generator, *, span: float
) -> tuple[Int[np.ndarray, "b s"], Int[np.ndarray, " b"]]:
    """Lengths of each row's spans, which add up to its budget (0 after the last), and how many spans there are.

    In random order: the last one drawn is cut and never 0, so it must not always be the last in the row."""
    draws = 2 * int(budget.max(initial=0)) + 16  # of mean 1 or more: never too few in practice
    lengths = rng.poisson(span, (len(budget), draws))
    before = np.cumsum(lengths, axis=1) - lengths
    used = before < budget[:, None]
    lengths = np.where(used, np.minimum(lengths, budget[:, None] - before), 0)
    order = np.argsort(np.where(used, rng.random(used.shape), 2.0), axis=1)
    return np.take_along_axis(lengths, order, axis=1), used.sum(axis=1)
