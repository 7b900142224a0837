"""Pairs of two natural sentences, much shorter than a row.

Source: RoBERTa, arXiv:1907.11692 §4.2 (SENTENCE-PAIR+NSP)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch, Facts, TooLittle
from modeledge.data import _kept
from modeledge.data._kept import Piece, kept
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame, Range
from modeledge.data.sources._pairs import Elsewhere, truncate
from modeledge.data.sources._sentences import sentences
from modeledge.data.store import Store


class SentencePair(Source):
    """[cls] sentence [sep] the next, or a random one of another document [sep], with `is_next` or `swapped`."""

    class Config(Source.Config):
        """negative: as in segment_pair."""

        negative: Literal["random", "swap", "none"] = "random"

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        self.bounds, self.first = sentences(self.store)
        self.elsewhere = Elsewhere(self.store, self.bounds, self.first)
        pairs = kept(self.store, "sentence_pair", self._pairs)
        self.at, self.document = pairs["at"], pairs["document"]
        self.number(len(self.at), self.document)
        if len(self.first) < 3 and config.negative == "random":
            raise TooLittle(f"{self.store.path}: a random next sentence needs at least two documents, there is one")

    def _pairs(self) -> Iterator[Piece]:
        """The sentences that have another one after them in their document."""
        n = len(self.bounds) - 1
        for at in range(0, max(n, 1), _kept.PIECE):
            place = np.arange(at, min(at + _kept.PIECE, n))
            document = np.searchsorted(self.first, place, side="right") - 1
            follows = place + 1 < self.first[document + 1]
            yield {"at": place[follows], "document": document[follows]}

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        at, bounds, cfg = self.at[index], self.bounds, self.config
        a = Range(bounds[at], bounds[at + 1] - bounds[at])
        b = Range(bounds[at + 1], bounds[at + 2] - bounds[at + 1])
        negative = (rng.random(len(index)) < 0.5) & (cfg.negative != "none")
        other = b
        if cfg.negative == "random":
            other = self.elsewhere(self.document[index], np.ones(len(index), np.int64), rng)
        elif cfg.negative == "swap":
            other, a = a, Range(np.where(negative, b.begin, a.begin), np.where(negative, b.size, a.size))
        b = Range(np.where(negative, other.begin, b.begin), np.where(negative, other.size, b.size))
        room = self.frame.room(cfg.length, 2)
        batch = self.frame.lay(self.store, truncate(a, b, room, rng), cfg.length)
        label = {"random": "is_next", "swap": "swapped"}.get(cfg.negative)
        return batch.but(**{label: negative.astype(np.int64)}) if label else batch
