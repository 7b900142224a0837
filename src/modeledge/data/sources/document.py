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

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        begin = self.offsets[index]
        size = np.minimum(self.offsets[index + 1] - begin, self.frame.room(self.config.length))
        return self.frame.lay(self.store, [Range(begin, size)], self.config.length)
