"""A graph of facts: which triples are known to be true, and corrupted ones that are not.

Source: Bordes et al., "Translating embeddings for modeling multi-relational data", NIPS 2013, §2 (corrupted triples)
and §4.2 (the filter)."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from modeledge.core import DataError
from modeledge.data.store import Store

Numbers = np.ndarray | int
_ROUNDS = 8


class Corrupted(NamedTuple):
    """other: an entity that is put into each triple's place; side: in place of its head (0) or its tail (1)."""

    other: Int[np.ndarray, "b n"]
    side: Int[np.ndarray, "b n"]


class Graph:
    """Every triple of a store, the held-out ones too, as sorted keys."""

    def __init__(self, store: Store):
        if "triples" not in store:
            raise DataError(f"{store.path}: no triples in it\n  next: modeledge prepare FILE --kind triples")
        self.entities, self.relations = int(store.meta["entities"]), int(store.meta["relations"])
        self.path = store.path
        parts = [store["triples"]] + ([store.valid["triples"]] if store.valid is not None else [])
        known = np.concatenate([np.asarray(p, np.int64) for p in parts])
        self.keys = np.unique(self.key(known[:, 0], known[:, 1], known[:, 2]))

    def key(self, head: Numbers, relation: Numbers, tail: Numbers) -> np.ndarray:
        """One number for a triple."""
        return (np.asarray(relation, np.int64) * self.entities + head) * self.entities + tail

    def true(self, head: Numbers, relation: Numbers, tail: Numbers) -> Bool[np.ndarray, "*n"]:
        """Which triples are known."""
        key = self.key(head, relation, tail)
        return self.keys[np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)] == key

    def known(self, triples: Int[np.ndarray, "m 3"], side: int) -> tuple[np.ndarray, np.ndarray]:
        """Every entity that makes one of these triples true in place of its head (side 0) or tail (1): the number of
        the triple and the entity, in rows."""
        head, relation, tail = triples.T.astype(np.int64)
        keys = self.keys if side else self.turned
        first = (relation * self.entities + (head if side else tail)) * self.entities
        begin, end = np.searchsorted(keys, first), np.searchsorted(keys, first + self.entities)
        size = end - begin
        at = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size - begin, size)
        return np.repeat(np.arange(len(triples)), size), keys[at] % self.entities

    @cached_property
    def turned(self) -> Int[np.ndarray, " n"]:
        """The keys with head and tail exchanged, sorted."""
        rest, tail = np.divmod(self.keys, self.entities)
        relation, head = np.divmod(rest, self.entities)
        return np.sort(self.key(tail, relation, head))

    def corrupt(
        self, triples: Int[np.ndarray, "b 3"], side: Int[np.ndarray, "b n"], rng: np.random.Generator
    ) -> Corrupted:
        """An entity drawn uniformly for each place such that the triple with it is not known to be true.

        Raises DataError where every entity makes a true one."""
        other = rng.integers(0, self.entities, side.shape)
        head, relation, tail = (np.broadcast_to(triples[:, i, None], side.shape) for i in range(3))
        left = np.arange(side.size)
        flat = [x.reshape(-1) for x in (head, relation, tail, side)]
        drawn = other.reshape(-1)
        for _ in range(_ROUNDS):
            h, r, t, s = (x[left] for x in flat)
            wrong = self.true(np.where(s == 0, drawn[left], h), r, np.where(s == 1, drawn[left], t))
            left = left[wrong]
            if not len(left):
                break
            drawn[left] = rng.integers(0, self.entities, len(left))
        for place in left.tolist():  # hardly anything is false there: list it
            h, r, t, s = (int(x[place]) for x in flat)
            everyone = np.arange(self.entities)
            false = np.flatnonzero(~(self.true(everyone, r, t) if s == 0 else self.true(h, r, everyone)))
            if not len(false):
                raise DataError(f"{self.path}: with relation {r} of entity {t if s == 0 else h} every entity is true")
            drawn[place] = rng.choice(false)
        return Corrupted(drawn.reshape(side.shape), side)
