"""Whole sentences of one document packed into rows; the tail of a document makes a short row.

Source: RoBERTa, arXiv:1907.11692 §4.2 (DOC-SENTENCES). The paper enlarges the batch where rows are short: `loop.unit:
tokens`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch
from modeledge.data.sources.full_sentences import FullSentences


class DocSentences(FullSentences):
    """[cls] sentences of one document [sep], and `sentence_starts` (of the ordinary tokens)."""

    crosses = False

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        batch = super().cut(index, rng)
        begins = self.begins[index] - self.stream.document(self.begins[index])  # places among the stored tokens
        address = begins[:, None] + np.arange(batch.ids.shape[1]) - self.frame.head
        known = np.asarray(self.store["sentences"])
        nearest = np.minimum(np.searchsorted(known, address), len(known) - 1)
        starts = known[nearest] == address
        return batch.but(sentence_starts=starts & ~batch.special)
