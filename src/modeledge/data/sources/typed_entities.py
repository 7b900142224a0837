"""Records as sequences of typed entities, in an order of their own each time.

Source: OAG-BERT, arXiv:2103.02410 §3.2-3.3: a type for every token, two positions (which entity, and where in it), and
names that are hidden whole. The released model hides at most ten tokens of a long entity; here what is longer than
`longest` is running text, whose words are hidden one by one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, DataError, Facts
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame
from modeledge.data.store import Store


class TypedEntities(Source):
    """[cls] entities [sep]: `types` (0: special, then a field each), `order` (which entity, from 1), `positions`
    (where in it, from 0), `entity_starts`, and `word_starts` such that a name counts as one word."""

    class Config(Source.Config):
        """most: entities of a row that are told apart by their place, the rest share the last (long lists of authors);
        longest: tokens of an entity that is a name."""

        most: int = Field(63, ge=1, le=10_000)
        longest: int = Field(16, ge=1)
        sampling: float = Field(1.0, ge=1, le=1)

    reads = "fields"
    config: Config

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        if "types" not in self.store:
            raise DataError(f"{self.store.path}: no typed entities in it\n  next: prepare with --kind fields")
        self.labels: list[str] = list(self.store.meta.get("types", ()))  # the names of the fields
        self.frame = Frame(facts)
        self.begins = np.flatnonzero(self.store["entity_starts"])  # of entities
        self.ends = np.append(self.begins[1:], len(self.store["tokens"]))
        self.first = np.searchsorted(self.begins, self.store.offsets("tokens"))  # entity of each record
        self.number(len(self.first) - 1)

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        count = self.first[index + 1] - self.first[index]
        owner = np.repeat(np.arange(len(index)), count)
        entity = np.arange(len(owner)) + np.repeat(self.first[index] - np.cumsum(count) + count, count)
        entity = entity[np.lexsort((rng.random(len(entity)), owner))]  # owner stays sorted
        sizes = self.ends[entity] - self.begins[entity]
        nth = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        inner = _count(sizes)
        row, address = np.repeat(owner, sizes), np.repeat(self.begins[entity], sizes) + inner
        total = np.bincount(row, minlength=len(index))
        column = _count(total) + self.frame.head
        kept = column < self.config.length - 1
        row, column, address, inner = row[kept], column[kept], address[kept], inner[kept]
        place, name = (
            np.repeat(x, sizes)[kept] for x in (np.minimum(nth + 1, self.config.most), sizes <= self.config.longest)
        )
        shape, end = (len(index), self.config.length), np.minimum(total + self.frame.head, self.config.length - 1)

        def laid(values: np.ndarray, fill: int, dtype: type) -> np.ndarray:
            out = np.full(shape, fill, dtype)
            out[row, column] = values
            return out

        valid = np.arange(shape[1]) <= end[:, None]
        special = laid(np.zeros(len(row)), 1, bool)
        starts = np.where(name, self.store["entity_starts"][address], self.store["word_starts"][address])
        ids = laid(self.store["tokens"][address], self.facts.pad, np.int32)
        ids[np.arange(len(index)), end] = self.frame.sep
        if self.frame.cls is not None:
            ids[:, 0] = self.frame.cls
        batch = Batch(ids=ids, special=special, word_starts=laid(starts, 1, bool))
        batch["entity_starts"] = laid(self.store["entity_starts"][address], 0, bool)
        batch["types"] = laid(self.store["types"][address].astype(np.int64) + 1, 0, np.int16)
        batch["order"] = laid(place, 0, np.int32)
        batch["positions"] = laid(inner, 0, np.int32)
        return batch if valid.all() else batch.but(valid=valid)

    def entities(self, record: int) -> list[tuple[int, np.ndarray]]:
        """The entities of a record as the store has them: type (from 1) and ids."""
        parts = [slice(self.begins[i], self.ends[i]) for i in range(self.first[record], self.first[record + 1])]
        tokens, types = self.store["tokens"], self.store["types"]
        return [(int(types[part.start]) + 1, np.asarray(tokens[part], np.int64)) for part in parts]


def _count(sizes: np.ndarray) -> np.ndarray:
    """0 ... sizes[0] - 1, 0 ... sizes[1] - 1, and so on."""
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
