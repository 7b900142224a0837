"""Facts as triples whose entities are texts that describe them.

Source: KEPLER, arXiv:1911.06136 §3.2. Not here: entities as numbers (triples.py)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, DataError, Facts
from modeledge.data._triples import DESCRIBED
from modeledge.data.sources._frame import Frame, Range
from modeledge.data.sources.triples import Triples as TriplesSource
from modeledge.data.store import Store


class Described(TriplesSource):
    """`ids` b (2 + n) t: the framed descriptions of head, tail and the entities of corrupted triples;
    `relation`, `side` as in triples."""

    class Config(TriplesSource.Config):
        """length: tokens of a description, special ones included."""

        length: int = Field(64, ge=4, le=1 << 14)

    config: Config

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        if not (store.path / DESCRIBED).is_dir():
            raise DataError(
                f"{store.path}: these entities have no descriptions\n"
                "  next: prepare the triples with --descriptions FILE (and the tokenizer of the text)"
            )
        self.texts, self.frame = Store.open(store.path / DESCRIBED), Frame(facts)
        self.begins = np.asarray(self.texts.offsets("tokens"))

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        batch = super().cut(index, rng)
        texts, shape = self.describe(batch.ids.reshape(-1)), batch.ids.shape
        return batch.but(**{k: v.reshape(*shape, v.shape[-1]) for k, v in texts.items()})

    def describe(self, entities: Int[np.ndarray, " n"]) -> Batch:
        """The framed descriptions of entities: n t."""
        begin = self.begins[entities]
        size = np.minimum(self.begins[entities + 1] - begin, self.frame.room(self.config.length))
        return self.frame.lay(self.texts, [Range(begin, size)], self.config.length)
