"""A sentence of the beginning of a document and another passage of the same document.

Source: body first selection, arXiv:2002.03932 §3.2 (BFS). The first section is the document's first passage."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch, Facts
from modeledge.data.sources._passages import Passages
from modeledge.data.store import Store


class BodyFirst(Passages):
    """Rows: every passage but the first of its document; the sentence is drawn."""

    def __init__(self, config: Passages.Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.later = np.setdiff1d(np.arange(self.passages), self.of_document)
        self.number(len(self.later), self.document[self.later])

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        numbers = self.later[index]
        return self.pair(self.sentence_of(self.of_document[self.document[numbers]], rng), numbers)
