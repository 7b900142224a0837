"""Which runs of tokens become blanks: many short spans, one long one, or whole sentences.

Source: GLM, arXiv:2103.10360 §2.1-2.2 and the released block strategy (lengths from a Poisson distribution cut to
1 ... 39). Blanks never touch each other. Not here: how blanks are shown and asked (arrange/blanks.py), T5's noise
(spans.py)."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from modeledge.views.corrupt.mask import choose_exactly

LONGEST = 39
"""Tokens of the longest span that is drawn."""


def span_lengths(mean: float) -> Float[np.ndarray, " n"]:
    """Probabilities of the lengths 1, 2, ... 39: Poisson with this parameter, given that it is one of them."""
    n = np.arange(1, LONGEST + 1)
    logs = n * math.log(mean) - mean - np.array([math.lgamma(k + 1) for k in n])
    p = np.exp(logs)
    return p / p.sum()


def short_spans(
    maskable: Bool[np.ndarray, "b t"], rng: np.random.Generator, *, rate: float, lengths: Float[np.ndarray, " n"]
) -> Bool[np.ndarray, "b t"]:
    """round(rate * n) of the n maskable tokens of each row, at least one, in spans of lengths drawn from `lengths`.

    The span that would overshoot is cut. Spans lie anywhere with equal probability, at least one token apart; what is
    not maskable ends a span, which goes on behind it. `rate` is at most one half, so that there is always room."""
    n = maskable.sum(axis=1)
    wanted = np.where(n > 0, np.maximum(1, np.round(rate * n)), 0).astype(np.int64)
    b, most = len(n), max(int(wanted.max(initial=0)), 1)
    size = rng.choice(len(lengths), size=(b, most), p=lengths) + 1
    before = np.cumsum(size, axis=1) - size
    size = np.clip(wanted[:, None] - before, 0, size)
    order = np.argsort(np.where(size > 0, rng.random((b, most)), 2.0), axis=1)  # the one that was cut may lie anywhere
    size = np.take_along_axis(size, order, axis=1)
    spans = (size > 0).sum(axis=1)
    # the rest and the spans in a line, a token behind each span but the last: every such line is equally likely
    slots = n - wanted + 1
    bars = choose_exactly(np.arange(max(int(slots.max(initial=1)), 1)) < slots[:, None], spans, rng)
    at = np.argsort(~bars, axis=1, kind="stable")
    at = np.pad(at, ((0, 0), (0, max(0, most - at.shape[1]))))[:, :most]
    begin = at + np.cumsum(size, axis=1) - size
    return spread(runs(begin, size, maskable.shape[1]), maskable)


def long_span(maskable: Bool[np.ndarray, "b t"], rng: np.random.Generator, *, least: float) -> Bool[np.ndarray, "b t"]:
    """One span a row of `least` to all of its maskable tokens, length and place drawn evenly."""
    n = maskable.sum(axis=1)
    low = np.maximum(np.ceil(least * n), np.minimum(n, 1)).astype(np.int64)
    size = low + np.floor(rng.random(len(n)) * (n - low + 1)).astype(np.int64)
    begin = np.floor(rng.random(len(n)) * (n - size + 1)).astype(np.int64)
    return spread(runs(begin[:, None], size[:, None], maskable.shape[1]), maskable)


def whole_sentences(
    maskable: Bool[np.ndarray, "b t"], ends: Bool[np.ndarray, "b t"], rng: np.random.Generator, *, rate: float
) -> Bool[np.ndarray, "b t"]:
    """Whole sentences in random order, never two neighbours, until at least `rate` of the maskable tokens are chosen or
    every sentence that is left stands beside a chosen one. `ends`: the last token of each sentence."""
    b, t = maskable.shape
    number = np.zeros((b, t), np.int64)
    number[:, 1:] = np.cumsum(ends[:, :-1] | ~maskable[:, :-1], axis=1)
    size = np.zeros((b, t), np.int64)
    np.add.at(size, (np.arange(b)[:, None], number), maskable)
    score = np.where(size > 0, rng.random((b, t)), 2.0)
    chosen = np.zeros((b, t), bool)
    wanted = rate * maskable.sum(axis=1)
    while True:  # hardly ever more than twice: those drawn before their neighbours mostly suffice
        around = np.pad(score, ((0, 0), (1, 1)), constant_values=2.0)
        alone = (score < around[:, :-2]) & (score < around[:, 2:])
        order = np.argsort(np.where(alone, score, 2.0), axis=1, kind="stable")
        paid = np.take_along_axis(size * alone, order, axis=1)
        left = wanted - (size * chosen).sum(axis=1)
        taken = (np.cumsum(paid, axis=1) - paid < left[:, None]) & (paid > 0)
        if not taken.any():
            return np.take_along_axis(chosen, number, axis=1) & maskable
        more = np.zeros_like(chosen)
        np.put_along_axis(more, order, taken, axis=1)
        chosen |= more
        beside = np.pad(chosen, ((0, 0), (1, 1)))
        score = np.where(chosen | beside[:, :-2] | beside[:, 2:], 2.0, score)


def runs(begin: Int[np.ndarray, "b s"], size: Int[np.ndarray, "b s"], width: int) -> Bool[np.ndarray, "b t"]:
    """Places begin ... begin + size of each row."""
    row = np.broadcast_to(np.arange(len(begin))[:, None], begin.shape)
    step = np.zeros((len(begin), width + 1), np.int64)
    some = size > 0
    np.add.at(step, (row[some], begin[some]), 1)
    np.add.at(step, (row[some], (begin + size)[some]), -1)
    return np.cumsum(step[:, :width], axis=1) > 0


def spread(chosen: Bool[np.ndarray, "b t"], maskable: Bool[np.ndarray, "b t"]) -> Bool[np.ndarray, "b t"]:
    """What was chosen among the maskable tokens of a row, by their number, as places of the row."""
    number = np.maximum(np.cumsum(maskable, axis=1) - 1, 0)
    return np.take_along_axis(chosen, number, axis=1) & maskable
