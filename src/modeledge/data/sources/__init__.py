"""Sources: how a store is cut into rows. A source numbers its rows; order is not its business.

`source.rows(index, rng)` gives the rows `index` as a Batch of numpy arrays. Where rows depend on chance (which segment
comes next, where a pair is truncated), `rng` decides, so that the caller's key fixes everything."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, DataError, Draws, Facts, Part, PartConfig, TooLittle, keyed


class Source(Part):
    """A store seen as numbered rows.

    ordered: rows must be read in the order of their numbers (parallel streams for models with memory)."""

    class Config(PartConfig):
        """length: tokens a row, special ones included; sampling: exponent a of q_i = p_i^a / sum p^a over the languages
        of a store (1: as they come; smaller: rare ones more often; XLM 0.5, mBERT 0.7, XLM-R 0.3)."""

        length: int = Field(128, ge=4, le=1 << 20)
        sampling: float = Field(1.0, ge=0, le=1)

    ordered = False
    reads = "text"
    """What kind of data it reads, in the words of `prepare`: text, images, pairs, parallel; or `table`, which needs
    none."""

    def __init__(self, config: Any, store: Any, facts: Facts, split: str = "train"):
        self.config, self.facts, self.split = config, facts, split
        self.store = store.part(split)
        self.count = 0
        self.languages: Languages | None = None
        self.documents: np.ndarray | None = None

    def __len__(self) -> int:
        """Rows of one epoch."""
        return self.count

    def rows(self, index: Int[np.ndarray, " b"], rng: Draws) -> Batch:
        """The rows `index`, each in 0..len-1, drawing from `rng` whatever is left to chance."""
        if self.languages is not None:
            index = self.languages.choose(index, rng)
        index = np.asarray(index, np.int64)
        batch = self.cut(index, rng)
        if self.documents is not None and "lang" not in batch:
            batch["lang"] = self.store["lang"][self.documents[index]].astype(np.int64)
        return batch

    def draws(self, index: Int[np.ndarray, " b"], epoch: Int[np.ndarray, " b"], *key: int | str) -> Draws:
        """What chance comes from when the rows `index` are read in these epochs; the key names the step."""
        return keyed(*key)

    def tokens_of(self, index: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"] | None:
        """How many tokens these rows have, special ones included; None where only reading them tells."""
        return None

    def cut(self, index: Int[np.ndarray, " b"], rng: Draws) -> Batch:
        """The rows `index` as they stand, before sampling by language."""
        raise NotImplementedError

    def class_counts(self) -> Int[np.ndarray, " c"] | None:
        """How often each class occurs in the rows, by its number; None where rows have no classes."""
        return None

    def number(self, count: int, documents: np.ndarray | None = None) -> None:
        """Say how many rows there are and the document each begins in, which tells a row's language where the store has
        languages (`lang`, one a row, unless `cut` gives one a token) and is what sampling by language goes by.

        Raises DataError if there is none."""
        self.count = int(count)
        if self.count < 1:
            raise TooLittle(
                f"{self.store.path}: too little data for a single row of {self.config.kind or 'this source'}\n"
                "  next: a shorter length, or more data"
            )
        if documents is not None and "lang" in self.store:
            self.documents = documents
        if documents is not None and self.config.sampling < 1:
            if "lang" not in self.store:
                raise DataError(
                    f"{self.store.path}: sampling by language needs a column `lang`; prepare with --column lang=NAME"
                )
            self.languages = Languages(self.store["lang"][documents], self.config.sampling)


class Languages:
    """Which row stands at a place of an epoch when languages are drawn with temperature.

    An epoch keeps its number of rows; language i gets round(q_i * rows) places. A language's places first run through
    all its rows as often as they fit, the rest are drawn by chance."""

    def __init__(self, lang: Int[np.ndarray, " n"], alpha: float):
        self.order = np.argsort(lang, kind="stable")
        sizes = np.bincount(lang)
        self.first = np.concatenate([[0], np.cumsum(sizes)])[:-1]
        self.sizes = sizes
        share = np.where(sizes > 0, (sizes / sizes.sum()) ** alpha, 0.0)
        self.share = share / share.sum()
        self.ends = np.round(np.cumsum(self.share) * len(lang)).astype(np.int64)

    def choose(self, index: Int[np.ndarray, " b"], rng: Draws) -> Int[np.ndarray, " b"]:
        """The rows at the places `index` of the epoch."""
        which = np.searchsorted(self.ends, index, side="right")
        begins = np.concatenate([[0], self.ends])[which]
        place, size = index - begins, self.sizes[which]
        whole = (self.ends[which] - begins) // size * size
        drawn = (rng.random((len(index),)) * size).astype(np.int64)
        return self.order[self.first[which] + np.where(place < whole, place % size, drawn)]
