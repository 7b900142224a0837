"""Whole sentences packed into rows, going on into the next document after an extra separator, unless that is of another
language.

Source: RoBERTa, arXiv:1907.11692 §4.2 (FULL-SENTENCES); streams of one language: XLM, arXiv:1901.07291 §3.1.
Not here: rows of one document only (doc_sentences.py)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch, Facts
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame
from modeledge.data.sources._sentences import packed
from modeledge.data.sources._stream import Stream
from modeledge.data.store import Store


class FullSentences(Source):
    """[cls] sentences [sep], with a [sep] where a document ends inside the row. A sentence longer than a row is cut."""

    class Config(Source.Config):
        """isolate: documents of a row do not see each other (emits `doc`); RoBERTa lets them."""

        isolate: bool = False

    crosses = True

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame, self.stream = Frame(facts), Stream(self.store, facts)
        rows = packed(self.store, self.frame.room(config.length), crosses=self.crosses)
        self.begins, self.sizes = rows["begins"], rows["sizes"]
        self.number(len(self.begins), rows["document"])

    def tokens_of(self, index: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"] | None:
        length = self.config.length
        return None if self.languages else self.sizes[index] + length - self.frame.room(length)

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        return self.frame.lay_stream(
            self.stream, self.begins[index], self.sizes[index], self.config.length, isolate=self.config.isolate
        )
