"""Rows of one document, and which of their tokens stand elsewhere in it too.

Source: the token-document relation, ERNIE 2.0, arXiv:1907.12412 §4.2.1: what comes again in other segments of the
document is mostly a stop word, or a key word."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch
from modeledge.data.sources.doc_sentences import DocSentences


class InDocument(DocSentences):
    """[cls] sentences of one document [sep], and `recurs`: the token occurs in the document outside this row."""

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        batch = super().cut(index, rng)
        stream, row = self.stream, np.arange(len(index))[:, None]
        document = stream.document(self.begins[index])
        begins = self.begins[index] - document
        outside = []  # before the row, and after it, of the stored tokens
        outside.append((stream.starts[document] - document, begins))
        outside.append((begins + self.sizes[index], stream.starts[document + 1] - document - 1))
        seen = np.zeros((len(index), self.facts.vocab), bool)
        for first, end in outside:
            size = np.maximum(end - first, 0)
            ends = np.cumsum(size)
            place = np.arange(ends[-1]) - np.repeat(ends - size, size)
            seen[np.repeat(row[:, 0], size), stream.tokens[np.repeat(first, size) + place]] = True
        return batch.but(recurs=seen[row, batch.ids] & ~batch.special)
