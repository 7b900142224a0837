"""Pairs of sentences that follow each other, stand apart in one document, or come from two.

Source: sentence distance, ERNIE 2.0, arXiv:1907.12412 §4.2.2. Not here: two classes (sentence_pair.py)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch, Facts, TooLittle
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame, Range
from modeledge.data.sources._pairs import Elsewhere, truncate
from modeledge.data.sources._sentences import sentence_bounds
from modeledge.data.store import Store


class SentenceDistance(Source):
    """[cls] sentence [sep] another [sep], and `distance`: 0 the next one, 1 of the same document and no neighbour, 2 of
    another document, a third each. Rows begin with sentences for which there are all three."""

    class Config(Source.Config):
        """Nothing more to set."""

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        self.bounds = sentence_bounds(self.store)
        self.first = np.searchsorted(self.bounds, self.store.offsets("tokens"))
        self.elsewhere = Elsewhere(self.store, self.bounds, self.first)
        document = np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))
        at, begin, end = np.arange(len(document)), self.first[document], self.first[document + 1]
        self.low = np.maximum(at - 1, begin) - begin  # sentences before the one that stands before
        self.apart = self.low + np.maximum(end - at - 2, 0)
        self.at = np.flatnonzero((at + 1 < end) & (self.apart > 0))
        self.document = document
        if len(self.first) < 3:
            raise TooLittle(f"{self.store.path}: sentences of two documents need two documents, there is one")
        self.number(len(self.at), document[self.at])

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        at, bounds = self.at[index], self.bounds
        distance = rng.integers(0, 3, len(index))
        nth = (rng.random(len(index)) * self.apart[at]).astype(np.int64)
        there = np.where(nth < self.low[at], self.first[self.document[at]] + nth, at + 2 + nth - self.low[at])
        there = np.where(distance == 1, there, at + 1)
        other = self.elsewhere(self.document[at], np.ones(len(index), np.int64), rng)
        a, b = (Range(bounds[i], bounds[i + 1] - bounds[i]) for i in (at, there))
        far = distance == 2
        b = Range(np.where(far, other.begin, b.begin), np.where(far, other.size, b.size))
        parts = truncate(a, b, self.frame.room(self.config.length, 2), rng)
        return self.frame.lay(self.store, parts, self.config.length).but(distance=distance)
