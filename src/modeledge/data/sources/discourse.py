"""Pairs of neighbouring sentences of which the second began with a word like "however", which is taken away.

Sources: discourse relations in ERNIE 2.0, arXiv:1907.12412 §4.2.3, whose pairs are made as in Sileo et al.,
arXiv:1903.11850 §2 (174 markers, each at the beginning of a sentence and before a comma)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Facts, TooLittle
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame, Range
from modeledge.data.sources._pairs import truncate
from modeledge.data.sources._sentences import sentence_bounds
from modeledge.data.store import Store

MARKERS = (
    "However, Thus, Therefore, Instead, Finally, Then, Now, Moreover, Indeed, Also, Similarly, Nevertheless, "
    "In fact, In contrast, In addition, As a result, For example, For instance, On the other hand, Meanwhile, "
    "Otherwise, First, Second, Again"
)


class Discourse(Source):
    """[cls] sentence [sep] the next one without its marker [sep], and `discourse`: the number of the marker."""

    class Config(Source.Config):
        """markers: what the second sentence begins with, each followed by a comma; of two that fit the longer."""

        markers: tuple[str, ...] = Field(tuple(MARKERS.split(", ")), min_length=2)

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        self.bounds = sentence_bounds(self.store)
        first = np.searchsorted(self.bounds, self.store.offsets("tokens"))
        document = np.repeat(np.arange(len(first) - 1), np.diff(first))
        follows = np.append(False, document[1:] == document[:-1])
        marker, size = self.find(np.flatnonzero(follows))
        self.at, self.marker, self.size = np.flatnonzero(follows)[marker >= 0], marker[marker >= 0], size[marker >= 0]
        if not len(self.at):
            raise TooLittle(
                f"{self.store.path}: no sentence begins with one of {len(config.markers)} markers and a comma\n"
                f"  next: data.markers: words that the text has, now {', '.join(config.markers[:3])}, ..."
            )
        self.number(len(self.at), document[self.at])

    def find(self, at: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """The marker that each of these sentences begins with (-1: none, or nothing else), and its tokens."""
        begin, size = self.bounds[at], np.diff(self.bounds)[at]
        marker, found = np.full(len(at), -1), np.zeros(len(at), np.int64)
        tokens = np.asarray(self.store["tokens"])
        written = [f"{lead}{text}," for lead in ("", " ") for text in self.config.markers]
        for n, ids in enumerate(self.facts.tokenizer.encode_batch(written)):
            could = np.flatnonzero((size > len(ids)) & (len(ids) > found))
            fits = (tokens[begin[could][:, None] + np.arange(len(ids))] == np.asarray(ids)).all(1)
            marker[could[fits]], found[could[fits]] = n % len(self.config.markers), len(ids)
        return marker, found

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        at, bounds, size = self.at[index], self.bounds, self.size[index]
        a = Range(bounds[at - 1], bounds[at] - bounds[at - 1])
        b = Range(bounds[at] + size, bounds[at + 1] - bounds[at] - size)
        parts = truncate(a, b, self.frame.room(self.config.length, 2), rng)
        return self.frame.lay(self.store, parts, self.config.length).but(discourse=self.marker[index])
