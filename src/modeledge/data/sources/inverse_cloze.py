"""A sentence and the passage it was taken out of.

Source: the inverse cloze task of ORQA, arXiv:1906.00300 §5; arXiv:2002.03932 §3.2 (ICT)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Facts
from modeledge.data.sources._passages import Passages
from modeledge.data.store import Store


class InverseCloze(Passages):
    """Rows: every sentence of a passage that has another one."""

    class Config(Passages.Config):
        """removed: share of the rows whose passage lacks the sentence; in the others it stays, so that a model also
        learns that words in common mean something."""

        removed: float = Field(0.9, ge=0, le=1)

    config: Config

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        sizes = np.diff(self.first)
        passage = np.repeat(np.arange(self.passages), sizes)
        self.sentence = np.flatnonzero(sizes[passage] > 1)
        self.passage = passage[self.sentence]
        self.number(len(self.sentence), self.document[self.passage])

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        removed = rng.random(len(index)) < self.config.removed
        return self.pair(self.sentence[index], self.passage[index], removed=removed)
