"""A sentence of the beginning of a document and a passage of a document that links to it.

Source: wiki link prediction, arXiv:2002.03932 §3.2 (WLP). Plain text has no hyperlinks: a document links to another one
if it mentions its title, which is the other's first sentence (its first line)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Facts, TooLittle
from modeledge.data.sources._passages import Passages
from modeledge.data.store import Store


class Linked(Passages):
    """Rows: every link and every passage of the document it stands in; the sentence is drawn."""

    class Config(Passages.Config):
        """title: a first sentence of more tokens is no title."""

        title: int = Field(12, ge=1, le=64)

    config: Config

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        offsets = np.asarray(self.store.offsets("tokens"))
        ends = self.bounds[np.searchsorted(self.bounds, offsets[:-1]) + 1]
        links = mentions(self.store["tokens"], offsets, ends - offsets[:-1], most=config.title)
        if not len(links):
            raise TooLittle(
                f"{self.store.path}: no document mentions the title (first line) of another, so there are no links\n"
                "  next: put each document's title on its first line, or train with body_first"
            )
        sizes = np.diff(self.of_document)[links[:, 0]]
        start = np.repeat(self.of_document[links[:, 0]] - (np.cumsum(sizes) - sizes), sizes)
        self.target, self.linking = np.repeat(links[:, 1], sizes), start + np.arange(sizes.sum())
        self.number(len(self.target), self.target)

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        return self.pair(self.sentence_of(self.of_document[self.target[index]], rng), self.linking[index])


def mentions(
    tokens: np.ndarray, offsets: Int[np.ndarray, " n"], titles: Int[np.ndarray, " d"], *, most: int
) -> Int[np.ndarray, "l 2"]:
    """(document, another document whose first `titles` tokens it contains), each pair once, in order.

    Titles of more than `most` tokens, and those that several documents have, are left out."""
    found = [np.zeros((0, 2), np.int64)]
    owner = np.repeat(np.arange(len(titles)), np.diff(offsets))
    for size in range(1, most + 1):
        named = np.flatnonzero((titles == size) & (np.diff(offsets) >= size))
        if not len(named) or len(tokens) < size:
            continue
        key = np.zeros(len(tokens) - size + 1, np.uint64)
        with np.errstate(over="ignore"):
            for place in range(size):
                key = key * np.uint64(0x9E3779B97F4A7C15) + tokens[place : place + len(key)].astype(np.uint64)
        names, first, times = np.unique(key[offsets[named]], return_index=True, return_counts=True)
        names, pages = names[times == 1], named[first[times == 1]]
        if not len(names):
            continue
        at = np.minimum(np.searchsorted(names, key), len(names) - 1)
        hit = np.flatnonzero(names[at] == key)
        page = pages[at[hit]]
        same = owner[hit] == owner[hit + size - 1]
        for place in range(size):
            same &= tokens[hit + place] == tokens[offsets[page] + place]
        pairs = np.stack([owner[hit], page], 1)[same & (owner[hit] != page)]
        found.append(pairs)
    return np.unique(np.concatenate(found), axis=0)
