"""Making pairs: which sentences go together, a segment of another document, truncation. Vectorised over rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from modeledge.core import Draws
from modeledge.data.sources._frame import Range
from modeledge.data.store import Store


class Chunks(NamedTuple):
    """Sentences begin ... end of a document, collected for a row of `target` tokens: int64 [n] each."""

    begin: Int[np.ndarray, " n"]
    end: Int[np.ndarray, " n"]
    document: Int[np.ndarray, " n"]
    target: Int[np.ndarray, " n"]


def chunk(
    bounds: Int[np.ndarray, " s"],
    first: Int[np.ndarray, " d"],
    rng: np.random.Generator,
    *,
    room: int,
    short: float,
    puts_back: bool,
) -> Chunks:
    """Walk through all documents at once and collect sentences until a row's target length is reached.

    `bounds` are the token places of sentences (and the end), `first` the first sentence of each document (and the end).
    A document's target is `room`, or with probability `short` a length drawn from 2 ... room. With `puts_back` half of
    the chunks of several sentences use only a random number of them, and the next chunk begins after these."""
    document = np.arange(len(first) - 1)
    target = np.where(rng.random(len(document)) < short, rng.integers(2, room + 1, len(document)), room)
    at, found = first[:-1].copy(), []
    while len(document):
        end = np.searchsorted(bounds, bounds[at] + target[document])
        end = np.clip(end, at + 1, first[document + 1])
        found.append(np.stack([at, end, document, target[document]]))
        u, where = rng.random((2, len(document)))
        used = at + 1 + (where * (end - at - 1)).astype(np.int64)
        at = np.where(puts_back & (u < 0.5) & (end - at > 1), used, end)
        left = at < first[document + 1]
        at, document = at[left], document[left]
    rows = np.concatenate(found, axis=1) if found else np.zeros((4, 0), np.int64)
    return Chunks(*rows[:, np.lexsort((rows[0], rows[2]))])


class Elsewhere:
    """Draws sentences of another document than a row's own: one of the same language where the store knows languages,
    so that what is random cannot be told by its language. A document alone in its language has all the others.

    `bounds` and `first` as in `chunk`."""

    def __init__(self, store: Store, bounds: Int[np.ndarray, " s"], first: Int[np.ndarray, " d"]):
        self.bounds, self.first, self.lang = bounds, first, None
        if "lang" in store:
            self.lang = np.asarray(store["lang"])
            self.order = np.argsort(self.lang, kind="stable")
            self.rank = np.empty_like(self.order)
            self.rank[self.order] = np.arange(len(self.order))
            self.sizes = np.bincount(self.lang)
            self.begins = np.cumsum(self.sizes) - self.sizes

    def __call__(self, document: Int[np.ndarray, " b"], target: Int[np.ndarray, " b"], rng: Draws) -> Range:
        """For each row, sentences from a random one of the other document on until `target` tokens are reached."""
        u, where = rng.random((len(document), 2)).T
        first, bounds = self.first, self.bounds
        other = self._other(document, u)
        begin = first[other] + (where * (first[other + 1] - first[other])).astype(np.int64)
        end = np.clip(np.searchsorted(bounds, bounds[begin] + target), begin + 1, first[other + 1])
        return Range(bounds[begin], bounds[end] - bounds[begin])

    def _other(self, document: Int[np.ndarray, " b"], u: Float[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
        """The documents that the draws `u` (0..1) choose."""
        if self.lang is None:
            drawn = (u * (len(self.first) - 2)).astype(np.int64)
            return drawn + (drawn >= document)
        lang = self.lang[document]
        alone = self.sizes[lang] == 1
        begin, size = np.where(alone, 0, self.begins[lang]), np.where(alone, len(self.order), self.sizes[lang])
        drawn = (u * (size - 1)).astype(np.int64)
        return self.order[begin + drawn + (drawn >= self.rank[document] - begin)]


def truncate(a: Range, b: Range, room: int, rng: Draws) -> list[Range]:
    """Shorten pairs to `room` tokens: one token after the other leaves the longer part (B if equal), from its front or
    its back with equal probability. Source: the released BERT builder; the sizes in closed form."""
    total = np.minimum(a.size + b.size, room)
    size_a = np.minimum(a.size, np.maximum(-(-total // 2), total - b.size))
    parts = []
    for part, size in ((a, size_a), (b, total - size_a)):
        front = rng.binomial(part.size - size, 0.5)
        parts.append(Range(part.begin + front, size))
    return parts
