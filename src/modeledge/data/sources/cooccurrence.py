"""How often words stand near each other, counted once over the whole corpus: the data of GloVe.

Source: Pennington et al., EMNLP 2014 §3 and §4.2, and the released counting tool: a pair d words apart adds 1/d, to
both sides alike; words outside the vocabulary are dropped first, so that the others move closer; windows do not cross
documents. The counts are held in memory, 16 bytes a pair of words that ever met. Held-out counts are brought to the
size of the training text, so that one set of biases fits both."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from modeledge.core import Batch, Facts, TooLittle, keyed
from modeledge.data.sources import Source
from modeledge.data.store import Store

AT_ONCE = 500_000
"""Words counted before the counts are merged with those before them."""


class Cells(NamedTuple):
    """The entries of the matrix that are not zero, in the order of word and then of context."""

    words: Int[np.ndarray, " n"]
    others: Int[np.ndarray, " n"]
    counts: Float[np.ndarray, " n"]


class Cooccurrence(Source):
    """Row r is `length` cells of the matrix, which were shuffled once.

    Emits `ids` [b, t], the words; `others` [b, t], their contexts; `together` [b, t] float, the counts, 0 where the
    last row has no cell."""

    class Config(Source.Config):
        """length: cells a row; window: words to each side."""

        length: int = Field(256, ge=4, le=1 << 20)
        window: int = Field(15, ge=1, le=100)
        sampling: float = Field(1.0, ge=1, le=1)

    config: Config

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        kept = ~facts.is_special()
        lengths = np.diff(np.asarray(self.store.offsets("tokens")))
        found = cooccurrences(self.store["tokens"], lengths, kept=kept, window=config.window)
        if not len(found.words):
            raise TooLittle(f"{self.store.path}: no two known words stand within {config.window} places of each other")
        order = keyed("cells").permutation(len(found.words))
        scale = 1.0
        if split != "train" and facts.counts is not None:
            here = np.bincount(np.asarray(self.store["tokens"], np.int64), minlength=facts.vocab)
            scale = facts.counts[kept].sum() / max(here[kept].sum(), 1)
        self.words = found.words[order].astype(np.int32)
        self.others = found.others[order].astype(np.int32)
        self.counts = (found.counts[order] * scale).astype(np.float32)
        self.number(-(-len(order) // config.length))

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        place = index[:, None] * self.config.length + np.arange(self.config.length)
        real = place < len(self.words)
        place = np.where(real, place, 0)
        together = np.where(real, self.counts[place], np.float32(0))
        return Batch(ids=self.words[place], others=self.others[place], together=together)


def cooccurrences(
    tokens: Int[np.ndarray, " n"], lengths: Int[np.ndarray, " d"], *, kept: np.ndarray, window: int
) -> Cells:
    """The symmetric matrix of 1/distance summed over all pairs of `kept` words (bool [v]) of a document that stand at
    most `window` apart once the others are dropped. `lengths`: tokens of each document."""
    vocab, ends = len(kept), np.cumsum(lengths)
    keys, sums = np.zeros(0, np.int64), np.zeros(0)
    left, left_doc = np.zeros(0, np.int64), np.zeros(0, np.int64)  # the last words before the block
    for start in range(0, len(tokens), AT_ONCE):
        block = np.asarray(tokens[start : start + AT_ONCE], np.int64)
        doc = np.searchsorted(ends, np.arange(start, start + len(block)), side="right")
        words, docs = (np.concatenate(both) for both in ((left, block[kept[block]]), (left_doc, doc[kept[block]])))
        new = len(left)
        found, weights = [keys], [sums]
        for apart in range(1, min(window, len(words) - 1) + 1):
            first = max(new - apart, 0)  # pairs whose second word is new
            here, there = slice(first, len(words) - apart), slice(first + apart, None)
            same = docs[here] == docs[there]
            found.append((words[here] * vocab + words[there])[same])
            weights.append(np.full(len(found[-1]), 1 / apart))
        keys, sums = merged(found, weights)
        left, left_doc = words[-window:], docs[-window:]
    first, second = np.divmod(keys, vocab)
    keys, sums = merged([keys, second * vocab + first], [sums, sums])
    return Cells(*np.divmod(keys, vocab), sums)


def merged(keys: list[np.ndarray], sums: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Each key once, ascending, with the sum of what stood beside it."""
    known, place = np.unique(np.concatenate(keys), return_inverse=True)
    return known, np.bincount(place, weights=np.concatenate(sums), minlength=len(known))
