"""Pairs of segments, each of one or more sentences: BERT's input, and ALBERT's.

Source: BERT, arXiv:1810.04805 §3.1 and its released data builder; sentence order: ALBERT, arXiv:1909.11942 §3.1. The
builder walks through a document: it collects sentences up to a target length, ends A at a random sentence, and takes
the rest as B or, for a negative, sentences of another document; what a negative left unused is read again. So the
chunks depend on chance: they are drawn once (`passes` times over the corpus); where A ends, whether B is random, which
document it comes from and what is truncated is drawn anew for every reading, or `static` times in all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Draws, Facts, RowRandom, TooLittle, keyed
from modeledge.data import _kept
from modeledge.data._kept import Piece, kept
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame, Range
from modeledge.data.sources._pairs import Chunks, Elsewhere, chunk, truncate
from modeledge.data.sources._sentences import sentences
from modeledge.data.store import Store

DRAWN = ("negative", "single", "short", "passes")
"""The settings that the chunks depend on."""


class SegmentPair(Source):
    """[cls] A [sep] B [sep] with `is_next` (0 as in the document, 1 random) or `swapped` (0 in order, 1 swapped)."""

    class Config(Source.Config):
        """negative: B of another document (next sentence prediction), A and B swapped (sentence order), or none;
        single: a chunk of one sentence has nothing after it: take a random B (the released builders, which is why
        more than half of BERT's pairs are random) or drop it, as `negative: none` always does; short: share of
        documents cut to shorter rows; passes: independent cuttings of the corpus in one epoch (BERT's duplication
        factor 10, ALBERT's 40); static: so many fixed pairs of a chunk, reused over the epochs (0: a new one at each
        reading)."""

        negative: Literal["random", "swap", "none"] = "random"
        single: Literal["random", "drop"] = "random"
        short: float = Field(0.1, ge=0, le=1)
        passes: int = Field(1, ge=1, le=100)
        static: int = Field(0, ge=0)

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        self.room = self.frame.room(config.length, 2)
        self.bounds, self.first = sentences(self.store)
        self.elsewhere = Elsewhere(self.store, self.bounds, self.first)
        drawn = {"split": split, "room": self.room} | {n: getattr(config, n) for n in DRAWN}
        self.chunks = Chunks(**kept(self.store, "segment_pair", self._chunks, **drawn))
        self.number(len(self.chunks.begin), self.chunks.document)
        self.borrows = config.negative == "random" or (config.negative == "swap" and config.single == "random")
        if len(self.first) < 3 and self.borrows:
            raise TooLittle(
                f"{self.store.path}: a random next segment needs at least two documents, there is one\n"
                "  next: prepare with --documents blank or line, or set `negative: swap, single: drop`"
            )

    def _chunks(self) -> Iterator[Piece]:
        """The chunks of every pass, so many whole documents at a time."""
        cfg, room, puts_back = self.config, self.room, self.config.negative == "random"
        least = 2 if cfg.single == "drop" or cfg.negative == "none" else 1
        turns = np.searchsorted(self.first, np.arange(0, max(int(self.first[-1]), 1), _kept.PIECE))
        turns = np.unique(np.append(turns, len(self.first) - 1))
        for number in range(cfg.passes):
            rng = keyed("segment_pair", self.split, number)
            for start, stop in itertools.pairwise(turns):
                first = self.first[start : stop + 1]
                bounds = self.bounds[first[0] : first[-1] + 1]
                found = chunk(bounds, first - first[0], rng, room=room, short=cfg.short, puts_back=puts_back)
                found = Chunks(found.begin + first[0], found.end + first[0], found.document + start, found.target)
                several = found.end - found.begin >= least
                yield {name: column[several] for name, column in found._asdict().items()}

    def draws(self, index: Int[np.ndarray, " b"], epoch: Int[np.ndarray, " b"], *key: int | str) -> Draws:
        static = self.config.static
        if not static:
            return super().draws(index, epoch, *key)
        return RowRandom(index * static + epoch % static, "static pair")

    def cut(self, index: Int[np.ndarray, " b"], rng: Draws) -> Batch:
        cfg, bounds = self.config, self.bounds
        begin, end, document, target = (column[index] for column in self.chunks)
        u, where, flip = rng.random((len(index), 3)).T
        single = end - begin == 1
        middle = begin + 1 + (where * np.maximum(end - begin - 1, 1)).astype(np.int64)
        middle = np.minimum(middle, end)
        elsewhere = single | (u < 0.5) if cfg.negative == "random" else single
        a = Range(bounds[begin], bounds[middle] - bounds[begin])
        b = Range(bounds[middle], bounds[end] - bounds[middle])
        if self.borrows:  # all rows, whoever needs it: what is drawn for a row must not depend on its neighbours
            there = self.elsewhere(document, np.maximum(target - a.size, 1), rng)
            b = Range(np.where(elsewhere, there.begin, b.begin), np.where(elsewhere, there.size, b.size))
        swap = ~elsewhere & (flip < 0.5) if cfg.negative == "swap" else np.zeros_like(elsewhere)
        first = Range(np.where(swap, b.begin, a.begin), np.where(swap, b.size, a.size))
        second = Range(np.where(swap, a.begin, b.begin), np.where(swap, a.size, b.size))
        batch = self.frame.lay(self.store, truncate(first, second, self.room, rng), cfg.length)
        if cfg.negative == "random":
            return batch.but(is_next=elsewhere.astype(np.int64))
        return batch.but(swapped=(swap | elsewhere).astype(np.int64)) if cfg.negative == "swap" else batch
