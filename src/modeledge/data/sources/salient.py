"""A sentence that names something, and the passage it was taken out of.

Source: REALM, arXiv:2002.08909 §3.4 and the released example generator (salient spans; sentences without one are left
out). What is named was marked when the text was prepared (--entities FILE: names, dates, whatever is to be asked)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from modeledge.core import Batch, Facts, TooLittle
from modeledge.data.sources._frame import Range
from modeledge.data.sources._passages import Passages
from modeledge.data.store import Store


class Salient(Passages):
    """Rows: every sentence with a mention among its first `query` tokens, as [cls] tokens [sep]; `passage` as in
    _passages.py."""

    def __init__(self, config: Passages.Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        if "entities" not in self.store:
            raise TooLittle(
                f"{self.store.path}: nothing is marked in this text, so no sentence names anything\n"
                "  next: prepare it with --entities FILE (a name or a date, a tab and what it stands for a line)"
            )
        begins = np.asarray(self.store["entity_starts"]) & (np.asarray(self.store["entities"]) >= 0)
        before = np.append(0, np.cumsum(begins))
        sentence = np.arange(len(self.bounds) - 1)
        part = self.range_of(sentence)
        self.sentence = np.flatnonzero(before[part.begin + part.size] > before[part.begin])
        self.passage = np.searchsorted(self.first, self.sentence, side="right") - 1
        self.number(len(self.sentence), self.document[self.passage])

    def range_of(self, sentences: Int[np.ndarray, " b"]) -> Range:
        """The stored tokens of sentences, as many as a query may have."""
        begin = self.bounds[sentences]
        return Range(begin, np.minimum(self.bounds[sentences + 1] - begin, self.frame.room(self.config.query)))

    def mentioned(self, vocab: int) -> Float[np.ndarray, " v"]:
        """How often each token is in a mention drawn of a row, over all rows: the mentions of a row share one draw."""
        part = self.range_of(self.sentence)
        row = np.repeat(np.arange(len(self.sentence)), part.size)
        at = np.repeat(part.begin - np.cumsum(part.size) + part.size, part.size) + np.arange(len(row))
        named = np.asarray(self.store["entities"])[at] >= 0
        many = np.bincount(row, named & np.asarray(self.store["entity_starts"])[at])
        return np.bincount(np.asarray(self.store["tokens"])[at][named], (1 / many[row])[named], minlength=vocab)

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        part = self.range_of(self.sentence[index])
        number = self.passage[index]
        told = number if self.split == "train" else -1 - number
        return self.frame.lay(self.store, [part], self.config.query).but(passage=told)
