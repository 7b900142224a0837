"""Rank texts by the words they share with a query: BM25, the line that learned retrieval is measured against.

Source: Robertson and Zaragoza (2009), The Probabilistic Relevance Framework, §3; the idf is Lucene's, which is never
negative. Exact, in memory; words are whatever ids the caller gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


class BM25:
    """An index over texts. k1: how soon further occurrences stop to count; b: how much length is made up for."""

    def __init__(self, texts: Sequence[Int[np.ndarray, " n"]], *, k1: float = 1.2, b: float = 0.75):
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        words = np.concatenate([np.zeros(0, np.int64), *texts]).astype(np.int64)
        vocab = int(words.max(initial=0)) + 1
        pairs, counts = np.unique(words * len(texts) + np.repeat(np.arange(len(texts)), sizes), return_counts=True)
        word, self.text = np.divmod(pairs, len(texts))
        having = np.bincount(word, minlength=vocab)
        self.begins = np.concatenate([[0], np.cumsum(having)])
        idf = np.log1p((len(texts) - having + 0.5) / (having + 0.5))
        norm = k1 * (1 - b + b * sizes / max(sizes.mean(), 1e-9))
        self.weight = idf[word] * counts * (k1 + 1) / (counts + norm[self.text])
        self.texts = len(texts)

    def scores(self, queries: Sequence[Int[np.ndarray, " n"]]) -> Float[np.ndarray, "q n"]:
        """The score of every text for every query; a word that comes twice in a query counts twice."""
        out = np.zeros((len(queries), self.texts), np.float32)
        for row, query in zip(out, queries, strict=True):
            known = np.asarray(query, np.int64)
            for word in known[known < len(self.begins) - 1]:
                found = slice(self.begins[word], self.begins[word + 1])
                row[self.text[found]] += self.weight[found]
        return out
