"""One document a row, cut to the length."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch, Facts
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame, Range
from modeledge.data.store import Store


class Document(Source):
    """[cls] the document's first tokens [sep]."""

    def __init__(self, config: Source.Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        self.offsets = np.asarray(self.store.offsets("tokens"))
        self.number(len(self.offsets) - 1, np.arange(len(self.offsets) - 1))

    def sizes(self, index: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
        """How much of each document there is room for."""
        return np.minimum(self.offsets[index + 1] - self.offsets[index], self.frame.room(self.config.length))

    def tokens_of(self, index: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"] | None:
        length = self.config.length
        return None if self.languages else self.sizes(index) + length - self.frame.room(length)

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        return self.frame.lay(self.store, [Range(self.offsets[index], self.sizes(index))], self.config.length)
