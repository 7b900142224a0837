"""Parallel streams cut into segments of varied length, so that no word always stands at an edge.

Source: AWD-LSTM, arXiv:1708.02182 §4.1 and its released code: a segment has the usual length or, now and then, half of
it, and a few words more or less. Held-out text is cut evenly."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Facts, TooLittle, keyed
from modeledge.data.sources import Source
from modeledge.data.sources._stream import Stream
from modeledge.data.store import Store

SHORTEST = 5


class VariedStreams(Source):
    """Row i is segment i // streams of stream i % streams; an epoch is `passes` over the text, each cut otherwise.

    Emits `fresh` [b]: the row begins its stream, so what was remembered is void; from pass to pass it is kept."""

    class Config(Source.Config):
        """length: the usual one; streams: rows of the global batch; halves: share of segments that are to be half as
        long; spread: standard deviation of the lengths, in words; passes: before the cuts repeat."""

        streams: int = Field(80, ge=1)
        halves: float = Field(0.05, ge=0, le=1)
        spread: float = Field(5.0, ge=0)
        passes: int = Field(10, ge=1)
        sampling: float = Field(1.0, ge=1, le=1)

    config: Config
    ordered = True

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.stream = Stream(self.store, facts)
        self.room = self.stream.length // config.streams
        if self.room < min(config.length, 2 * SHORTEST):
            raise TooLittle(
                f"{self.store.path}: {self.stream.length} tokens are too few for {config.streams} streams\n"
                "  next: fewer streams, or more text"
            )
        if split == "train":
            sizes = [self.draw(number) for number in range(config.passes)]
        else:
            whole, rest = divmod(self.room, config.length)
            sizes = [np.array([config.length] * whole + [rest] * (rest > 1 and not whole))]
        self.sizes = np.concatenate(sizes)
        self.begins = np.concatenate([np.cumsum(s) - s for s in sizes])
        self.number(len(self.sizes) * config.streams)

    def draw(self, number: int) -> Int[np.ndarray, " n"]:
        """The lengths of a pass's segments, as many as fit into a stream."""
        c, rng = self.config, keyed("varied_stream", number)
        most = self.room // SHORTEST + 1
        usual = np.where(rng.random(most) < c.halves, c.length / 2, c.length)
        sizes = np.maximum(SHORTEST, rng.normal(usual, c.spread).astype(np.int64))
        return sizes[: max(1, int((np.cumsum(sizes) <= self.room).sum()))].clip(max=self.room)

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        segment, stream = np.divmod(index, self.config.streams)
        sizes = self.sizes[segment]
        ids, _, special, words, _ = self.stream.cut(stream * self.room + self.begins[segment], int(sizes.max()))
        valid = np.arange(ids.shape[1]) < sizes[:, None]
        batch = Batch(ids=np.where(valid, ids, np.int32(self.facts.pad)), special=special | ~valid)
        batch = batch.but(word_starts=None if words is None else words | ~valid, fresh=segment == 0)
        return batch.but(valid=None if valid.all() else valid)
