"""Two texts that say the same: a sentence and its translation, a text and its summary."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch, Facts
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame, Range
from modeledge.data.store import Store


class Parallel(Source):
    """`ids` is the first text, [cls] tokens [sep]; `target_ids` b u the second with an end token, `target_valid` b u.

    An objective lays them out: as encoder and decoder, or one after the other (TLM)."""

    class Config(Source.Config):
        """input: which of the two texts is read; the other is the target."""

        input: Literal["first", "second"] = "first"

    reads = "parallel"

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        self.end = facts.special.get("eos", self.frame.sep)
        self.sides = ("tokens", "second") if config.input == "first" else ("second", "tokens")
        self.first, self.second = (np.asarray(self.store.offsets(name)) for name in self.sides)
        self.number(len(self.first) - 1)

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        length = self.config.length
        begin = self.first[index]
        size = np.minimum(self.first[index + 1] - begin, self.frame.room(length))
        batch = self.frame.lay(self.store, [Range(begin, size)], length, side=self.sides[0])
        begin = self.second[index]
        size = np.minimum(self.second[index + 1] - begin, length - 1)[:, None]
        place = np.arange(length)
        address = np.where(place < size, begin[:, None] + place, 0)
        ids = self.store[self.sides[1]][address].astype(np.int32)
        ids = np.select([place < size, place == size], [ids, np.int32(self.end)], np.int32(self.facts.pad))
        return batch.but(target_ids=ids, target_valid=place <= size)
