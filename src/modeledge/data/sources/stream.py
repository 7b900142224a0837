"""Consecutive segments of parallel streams, for models that remember the segment before (Transformer-XL, XLNet, LSTM).

Source: Transformer-XL, arXiv:1901.02860, released data iterator; streams read backwards: XLNet, released data builder
(bi_data); a stream of its own for each direction: ELMo, arXiv:1802.05365, released training code."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field, model_validator

from modeledge.core import Batch, Facts, TooLittle
from modeledge.data.sources import Source
from modeledge.data.sources._stream import Stream
from modeledge.data.store import Store


class ParallelStreams(Source):
    """The corpus is cut into as many streams as a batch has rows; row i is segment i // streams of stream i % streams.

    Emits `fresh` [b]: the row begins its stream, so what was remembered is void; if some are, `backward` [b]: the row
    is read from its end; or `behind_ids` b t: what a model reads from its end while it reads `ids` from their
    beginning."""

    class Config(Source.Config):
        """streams: rows of the global batch; overlap: share of a row that the next row of its stream begins with;
        isolate: also emit `doc`, so that memory can end at documents; backward: the second half of the streams is read
        from the end of each, so that what is remembered stands to the right; or (beside) each stream is read from both
        ends at once, for models with a direction for each."""

        streams: int = Field(32, ge=1)
        overlap: float = Field(0.0, ge=0, lt=1)
        sampling: float = Field(1.0, ge=1, le=1)
        isolate: bool = False
        backward: bool | Literal["beside"] = False

        @model_validator(mode="after")
        def _whole(self) -> ParallelStreams.Config:
            if self.isolate and self.backward:
                raise ValueError("streams that are read backwards cannot keep documents apart; isolate: false")
            return self

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
        half = self.config.backward is True
        turned = stream >= (self.config.streams + 1) // 2 if half else np.zeros_like(stream, bool)
        nth = np.where(turned, self.segments - 1 - segment, segment)
        ids, doc, special, words, notes = self.stream.cut(
            (stream * self.segments + nth) * self.stride, self.config.length
        )
        batch = Batch(ids=ids, special=special, fresh=segment == 0).but(word_starts=words)
        if self.config.backward == "beside":
            mirrored = (stream + 1) * self.segments - 1 - segment
            batch = batch.but(behind_ids=self.stream.cut(mirrored * self.stride, self.config.length).ids)
        if not half:
            return Batch({**batch, **notes}).but(doc=doc if self.config.isolate else None)
        if words is not None:  # a word that is read backwards begins with its last token
            words[turned, :-1], words[turned, -1] = words[turned, 1:], True
        for name in ("ids", "special", "word_starts"):
            if name in batch:
                batch[name][turned] = batch[name][turned, ::-1]
        return batch.but(backward=turned)
