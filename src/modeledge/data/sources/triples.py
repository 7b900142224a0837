"""Facts as triples of numbers, each beside corrupted ones.

Source: TransE, Bordes et al., NIPS 2013, §2. Not here: triples whose entities are texts (described.py)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Facts, PartConfig
from modeledge.data.sources import Source
from modeledge.data.sources._graph import Graph
from modeledge.data.store import Store


class Triples(Source):
    """`ids` b (2 + n): head, tail, and an entity for each corrupted triple, which takes the head's (0) or the tail's
    (1) place as `side` b n says; `relation` [b]. No corrupted triple is one that the store knows to be true."""

    class Config(PartConfig):
        """negatives: corrupted triples beside each true one; corrupt: the head or the tail by chance (TransE), or so
        many with the head corrupted and as many with the tail (KEPLER)."""

        negatives: int = Field(1, ge=1, le=1024)
        corrupt: Literal["either", "each"] = "either"

    reads = "triples"
    config: Config

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.graph = Graph(store)
        self.triples = self.store["triples"]
        self.number(len(self.triples))

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        triples, n = self.triples[index].astype(np.int64), self.config.negatives
        if self.config.corrupt == "either":
            side = rng.integers(0, 2, (len(index), n))
        else:
            side = np.broadcast_to(np.arange(2 * n) % 2, (len(index), 2 * n))
        found = self.graph.corrupt(triples, side, rng)
        ids = np.concatenate([triples[:, [0, 2]], found.other], axis=1)
        return Batch(ids=ids, relation=triples[:, 1], side=found.side.astype(np.int8))
