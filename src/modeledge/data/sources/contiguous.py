"""Rows of a fixed length over the whole corpus, documents joined by a separator: no padding, nothing lost but a tail.

Source: the language models of GPT-2 and SpanBERT (arXiv:1907.10529 §3.3, one contiguous segment). Not here: whole
sentences (full_sentences.py), consecutive segments for models with memory (stream.py)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch, Facts
from modeledge.data.sources import Source
from modeledge.data.sources._sentences import languages
from modeledge.data.sources._stream import Stream, blank
from modeledge.data.store import Store


class Contiguous(Source):
    """Row r is places r * length ... of the corpus read as one stream; where languages are drawn by their shares, each
    language is a stream of its own."""

    class Config(Source.Config):
        """isolate: documents of a row do not see each other (emits `doc`); frame: begin each row with cls and close it
        with sep."""

        isolate: bool = False
        frame: bool = False

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.stream = Stream(self.store, facts)
        self.frame = [facts.role(name, "data: frame") for name in ("cls", "sep")] if config.frame else []
        self.width = config.length - len(self.frame)
        self.begins = self._begins()
        self.number(len(self.begins), self.stream.document(self.begins))

    def _begins(self) -> Int[np.ndarray, " n"]:
        """The place of the stream at which each row begins."""
        run = languages(self.store) if self.config.sampling < 1 else None
        if run is None:
            return np.arange(self.stream.length // self.width) * self.width
        ends = self.stream.starts[np.append(np.flatnonzero(np.diff(run)) + 1, len(run))]
        begins = np.concatenate([[0], ends[:-1]])
        return np.concatenate([np.arange(b, e - self.width + 1, self.width) for b, e in zip(begins, ends, strict=True)])

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        ids, doc, separator, words, notes = self.stream.cut(self.begins[index], self.width)
        if self.frame:
            ids = np.pad(ids, ((0, 0), (1, 1)))
            ids[:, 0], ids[:, -1] = self.frame
            doc = np.pad(doc, ((0, 0), (1, 1)), mode="edge")
            separator = np.pad(separator, ((0, 0), (1, 1)), constant_values=True)
            words = words if words is None else np.pad(words, ((0, 0), (1, 1)), constant_values=True)
            notes = {name: blank(np.pad(values, ((0, 0), (1, 1))), separator) for name, values in notes.items()}
        batch = Batch(ids=ids, special=separator, **notes)
        lang = self.stream.languages(self.begins[index], doc)
        return batch.but(word_starts=words, doc=doc if self.config.isolate else None, lang=lang)
