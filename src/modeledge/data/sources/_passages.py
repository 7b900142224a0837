"""Documents cut into passages of whole sentences, and rows that pair a query with a passage.

What a row has: `ids` b t, the passage as [cls] tokens [sep]; `query_ids` b u, the query in the same frame, and
`query_word_starts`; `valid` and `query_valid` where there is padding; `passage` [b], the number of the row's passage,
or -1 - number outside the training part (an index is made of that part)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Facts
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame, Range
from modeledge.data.sources._sentences import pack, sentence_bounds
from modeledge.data.store import Store

KEPT = ("ids", "valid", "word_starts")


class Passages(Source):
    """The passages of a store, numbered: sentences `first[p]` ... `first[p + 1]` of `bounds`.

    of_document: the first passage of each document (and the end)."""

    class Config(Source.Config):
        """length: tokens of a passage, special ones included; query: tokens of a query."""

        length: int = Field(288, ge=8, le=1 << 16)
        query: int = Field(64, ge=4, le=1 << 16)

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        room = self.frame.room(config.length)
        self.bounds = sentence_bounds(self.store, most=room)
        documents = np.searchsorted(self.bounds, self.store.offsets("tokens"))
        stops = np.repeat(documents[1:], np.diff(documents))
        rows = pack(self.bounds[1:], self.bounds[:-1], room, stops)
        self.first = np.append(rows, len(self.bounds) - 1)
        self.of_document = np.searchsorted(rows, documents)
        self.document = np.repeat(np.arange(len(documents) - 1), np.diff(self.of_document))

    @property
    def passages(self) -> int:
        """How many passages there are."""
        return len(self.first) - 1

    def texts(self, numbers: Int[np.ndarray, " n"]) -> Batch:
        """The passages of these numbers as `ids` and `valid`, whole."""
        return self._keep(self.frame.lay(self.store, [self.whole(numbers)], self.config.length))

    def whole(self, numbers: Int[np.ndarray, " n"]) -> Range:
        """The stored tokens of passages."""
        begin = self.bounds[self.first[numbers]]
        return Range(begin, self.bounds[self.first[numbers + 1]] - begin)

    def pair(
        self, sentences: Int[np.ndarray, " b"], numbers: Int[np.ndarray, " b"], *, removed: np.ndarray | None = None
    ) -> Batch:
        """Rows of a sentence as the query and a passage, which loses the sentence where `removed`."""
        begin, size = self.bounds[sentences], self.bounds[sentences + 1] - self.bounds[sentences]
        part, without = self.whole(numbers), None
        if removed is not None:
            without = Range(begin, np.where(removed, size, 0))
            part = Range(part.begin, part.size - without.size)
        passage = self.frame.lay(self.store, [part], self.config.length, without=without)
        asked = Range(begin, np.minimum(size, self.frame.room(self.config.query)))
        query = self._keep(self.frame.lay(self.store, [asked], self.config.query))
        told = numbers if self.split == "train" else -1 - numbers
        return self._keep(passage).but(word_starts=None, passage=told, **{f"query_{k}": v for k, v in query.items()})

    def _keep(self, batch: Batch) -> Batch:
        return Batch({k: v for k, v in batch.items() if k in KEPT})

    def sentence_of(self, numbers: Int[np.ndarray, " b"], rng: np.random.Generator) -> Int[np.ndarray, " b"]:
        """A sentence of each passage, drawn evenly."""
        begin, end = self.first[numbers], self.first[numbers + 1]
        return begin + (rng.random(len(numbers)) * (end - begin)).astype(np.int64)
