"""A text store as one stream: documents joined by a separator, addressed without a loop over tokens.

Place v of the stream belongs to document d if starts[d] <= v < starts[d + 1]; starts[d] = offsets[d] + d, because each
document is followed by one separator. So v - d is the place among the stored tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from modeledge.core import Facts
from modeledge.data import _kept
from modeledge.data._kept import Piece, kept
from modeledge.data.store import Store

NOTES = ("entities", "entity_starts", "phrase_starts", "capitals", "marked")
"""Columns with one entry a token that some stores have beside `word_starts`."""


class Cut(NamedTuple):
    """Rows cut from the stream, not yet framed: ids, doc (0, 1, ... within the row), what is a separator, word
    starts, and whatever else the store has for each token."""

    ids: Int[np.ndarray, "b t"]
    doc: Int[np.ndarray, "b t"]
    separator: Bool[np.ndarray, "b t"]
    word_starts: Bool[np.ndarray, "b t"] | None
    notes: dict[str, np.ndarray]


class Stream:
    """The stream of a text store. Words are what the store says; a separator is a word of its own."""

    def __init__(self, store: Store, facts: Facts):
        self.tokens = np.asarray(store["tokens"])  # plain arrays on the same pages: indexing them costs less
        self.words = np.asarray(store["word_starts"]) if "word_starts" in store else None
        self.notes = {name: np.asarray(store[name]) for name in NOTES if name in store}
        self.lang = np.asarray(store["lang"]) if "lang" in store else None
        self.starts = starts(store)
        self.length = int(self.starts[-1])
        self.separator = separator(facts)

    def document(self, places: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The document at each place."""
        return np.searchsorted(self.starts, places, side="right") - 1

    def languages(self, begins: Int[np.ndarray, " b"], doc: Int[np.ndarray, "b t"]) -> Int[np.ndarray, "b t"] | None:
        """The language of each place of rows that `cut` gave this `doc`; None where the store has none."""
        if self.lang is None:
            return None
        document = self.document(begins)[:, None] + np.maximum(doc, 0)
        return self.lang[np.minimum(document, len(self.lang) - 1)].astype(np.int32)

    def cut(self, begins: Int[np.ndarray, " b"], width: int) -> Cut:
        """Rows of `width` places from `begins` on; places after the end of the stream repeat the last separator."""
        b, first = len(begins), self.document(begins)
        last = self.document(np.minimum(begins + width - 1, self.length - 1))
        pieces = last - first + 1  # documents of each row, the first and the last perhaps not whole
        row = np.repeat(np.arange(b), pieces)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        at = row * width + np.maximum(self.starts[first[row] + nth] - begins[row], 0)  # in the rows laid end to end
        doc = np.repeat(nth.astype(np.int32), np.diff(at, append=b * width)).reshape(b, width)
        separator = np.zeros((b, width), bool)
        separator.reshape(-1)[at[nth > 0] - 1] = True
        separator[:, -1] = self.starts[np.minimum(last + 1, len(self.starts) - 1)] <= begins + width
        address = (begins - first)[:, None] + np.arange(width)
        address -= doc

        def read(column: np.ndarray) -> np.ndarray:
            return column.take(address, mode="clip")  # after the end: the last token's

        ids = read(self.tokens).astype(np.int32)
        np.copyto(ids, self.separator, where=separator)
        words = None if self.words is None else read(self.words) | separator
        notes = {name: blank(read(column), separator) for name, column in self.notes.items()}
        return Cut(ids, doc, separator, words, notes)


def starts(store: Store) -> Int[np.ndarray, " d"]:
    """The place of the stream at which each document begins, and the end."""
    offsets, size = np.asarray(store.offsets("tokens")), _kept.PIECE

    def pieces() -> Iterator[Piece]:
        for at in range(0, len(offsets), size):
            part = offsets[at : at + size]
            yield {"starts": part + np.arange(at, at + len(part))}

    return kept(store, "stream", pieces)["starts"]


def blank(values: np.ndarray, outside: Bool[np.ndarray, "b t"]) -> np.ndarray:
    """Annotations of tokens where there is no token of the corpus: no number (-1), not begun (False)."""
    return np.where(outside, values.dtype.type(0 if values.dtype == bool else -1), values)


def separator(facts: Facts) -> int:
    """The id between documents: sep, else eos, else pad."""
    return facts.special.get("sep", facts.special.get("eos", facts.pad))
