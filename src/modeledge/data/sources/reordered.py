"""Rows of one document in pieces that have changed places.

Source: sentence reordering, ERNIE 2.0, arXiv:1907.12412 §4.2.2: a paragraph is cut into 1 to m pieces, and the model
names their order among the sum of n! for n up to m. Pieces here are of whole sentences."""

from __future__ import annotations

import itertools
import math

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import PER_TOKEN, Batch, Facts
from modeledge.data.sources.doc_sentences import DocSentences
from modeledge.data.store import Store


def orders(most: int) -> Int[np.ndarray, "k m"]:
    """Every order of 1 to `most` pieces, the fewest first and then as a dictionary has them; the numbers of the pieces
    as they come, and those that are not there at the end."""
    found = [(*p, *range(n, most)) for n in range(1, most + 1) for p in itertools.permutations(range(n))]
    return np.array(found)


class Reordered(DocSentences):
    """[cls] pieces in another order [sep], and `arrangement`: the number of the order in `orders(pieces)`."""

    class Config(DocSentences.Config):
        """pieces: m, the most pieces a row is cut into."""

        pieces: int = Field(3, ge=2, le=6)

    config: Config

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.orders = orders(config.pieces)
        self.counts = np.array([math.factorial(n) for n in range(1, config.pieces + 1)])
        self.firsts = np.cumsum(self.counts) - self.counts  # the first order of 1, 2, ... pieces

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        batch = super().cut(index, rng)
        starts, b = batch.sentence_starts, len(index)
        begins = starts.sum(1) + ~starts[:, self.frame.head]  # a row may begin inside a long sentence
        pieces = np.minimum(1 + rng.integers(0, self.config.pieces, b), begins)
        which = self.firsts[pieces - 1] + (rng.random(b) * self.counts[pieces - 1]).astype(np.int64)
        return self.move(batch, self.piece(starts, pieces, rng), self.orders[which]).but(arrangement=which)

    def piece(self, starts: np.ndarray, pieces: Int[np.ndarray, " b"], rng: np.random.Generator) -> np.ndarray:
        """Which of its row's pieces each token belongs to: the cuts are drawn among the beginnings of sentences."""
        inner = starts & (np.arange(starts.shape[1]) > self.frame.head)
        drawn = np.where(inner, rng.random(starts.shape), 2.0)
        rank = np.argsort(np.argsort(drawn, axis=1), axis=1)
        return np.cumsum(inner & (rank < pieces[:, None] - 1), axis=1)

    def move(self, batch: Batch, piece: np.ndarray, order: Int[np.ndarray, "b m"]) -> Batch:
        """The tokens of each row sorted by the place of their piece; special ones and padding stay where they are."""
        place = np.argsort(order, axis=1)  # of each piece
        key = np.take_along_axis(place, piece, 1)
        last = np.cumsum(~batch.special, axis=1) > 0
        key = np.where(batch.special, np.where(last, self.config.pieces, -1), key)
        source = np.argsort(key, axis=1, kind="stable")
        fields = {k: v for k, v in batch.items() if k in PER_TOKEN and v.shape == batch.ids.shape and k != "valid"}
        return batch.but(**{k: np.take_along_axis(v, source, 1) for k, v in fields.items()})
