"""Consecutive segments of parallel streams, for models that remember the segment before (Transformer-XL, XLNet, LSTM).

Source: Transformer-XL, arXiv:1901.02860, released data iterator."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Facts, TooLittle
from modeledge.data.sources import Source
from modeledge.data.sources._stream import Stream
from modeledge.data.store import Store


class ParallelStreams(Source):
    """The corpus is cut into as many streams as a batch has rows; row i is segment i // streams of stream i % streams.

    Emits `fresh` [b]: the row begins its stream, so what was remembered is void."""

    class Config(Source.Config):
        """streams: rows of the global batch; overlap: share of a row that the next row of its stream begins with;
        isolate: also emit `doc`, so that memory can end at documents."""

        streams: int = Field(32, ge=1)
        overlap: float = Field(0.0, ge=0, lt=1)
        sampling: float = Field(1.0, ge=1, le=1)
        isolate: bool = False

    ordered = True

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.stream = Stream(self.store, facts)
        self.stride = max(1, round((1 - config.overlap) * config.length))
        self.segments = (self.stream.length - config.length + self.stride) // (config.streams * self.stride)
        if self.segments < 1:
            raise TooLittle(
                f"{self.store.path}: {self.stream.length} tokens are too few for {config.streams} streams of at least"
                f" {config.length}\n  next: fewer streams, a shorter length, or more text"
            )
        self.number(self.segments * config.streams)

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        segment, stream = np.divmod(index, self.config.streams)
        begins = (stream * self.segments + segment) * self.stride
        ids, doc, special, words, notes = self.stream.cut(begins, self.config.length)
        batch = Batch(ids=ids, special=special, fresh=segment == 0, **notes)
        return batch.but(word_starts=words, doc=doc if self.config.isolate else None)
