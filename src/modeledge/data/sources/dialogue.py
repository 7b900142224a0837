"""Turns of a dialogue, in some rows one of them taken from another dialogue.

Source: the dialogue language model, ERNIE, arXiv:1904.09223 §3.3: query, response and query or response, with ids of
the two roles where other rows have segments. A document of the store is a dialogue, a sentence one turn."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Facts, TooLittle
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame
from modeledge.data.sources._pairs import Elsewhere
from modeledge.data.sources._sentences import sentence_bounds
from modeledge.data.sources._stream import NOTES, blank
from modeledge.data.store import Store


class Dialogue(Source):
    """[cls] query [sep] response [sep] ... [sep], `segments` with the ids of the roles in turn, and `fake`: 1 where a
    turn comes from elsewhere."""

    class Config(Source.Config):
        """turns: in a row; fakes: share of rows with a turn from elsewhere; roles: ids of who asks and who answers,
        apart from those of segments."""

        turns: int = Field(3, ge=2, le=8)
        fakes: float = Field(0.5, ge=0, le=1)
        roles: tuple[int, int] = (2, 3)

    config: Config

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        self.room = self.frame.room(config.length, config.turns)
        self.bounds = sentence_bounds(self.store)
        self.first = np.searchsorted(self.bounds, self.store.offsets("tokens"))
        self.elsewhere = Elsewhere(self.store, self.bounds, self.first)
        self.document = np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))
        at = np.arange(len(self.document))
        self.at = at[at + config.turns <= self.first[self.document + 1]]
        if config.fakes and len(self.first) < 3:
            raise TooLittle(f"{self.store.path}: a turn from elsewhere needs two dialogues, there is one")
        self.number(len(self.at), self.document[self.at])

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        cfg, at = self.config, self.at[index]
        turn = at[:, None] + np.arange(cfg.turns)
        begin, size = self.bounds[turn], self.bounds[turn + 1] - self.bounds[turn]
        fake = rng.random(len(index)) < cfg.fakes
        if fake.any():
            there = self.elsewhere(self.document[at], np.ones(len(at), np.int64), rng)
            put = fake[:, None] & (np.arange(cfg.turns) == rng.integers(0, cfg.turns, len(at))[:, None])
            begin, size = np.where(put, there.begin[:, None], begin), np.where(put, there.size[:, None], size)
        return self.lay(begin, fit(size, self.room)).but(fake=fake.astype(np.int64))

    def lay(self, begin: Int[np.ndarray, "b n"], size: Int[np.ndarray, "b n"]) -> Batch:
        """Rows of several ranges of stored tokens, each with a separator behind it."""
        place = np.arange(self.config.length)
        ends = self.frame.head + np.cumsum(size + 1, axis=1) - 1  # where the separators stand
        part = np.minimum((place > ends[..., None]).sum(1), size.shape[1] - 1)
        valid = place <= ends[:, -1:]
        start = np.take_along_axis(ends - size, part, 1)
        inside = (place >= start) & (place < start + np.take_along_axis(size, part, 1))
        address = np.where(inside, np.take_along_axis(begin, part, 1) + place - start, 0)
        ids = self.store["tokens"][address].astype(np.int32)
        ids[~inside] = self.frame.sep
        ids[~valid] = self.frame.pad
        if self.frame.cls is not None:
            ids[:, 0] = self.frame.cls
        roles = np.where(valid, np.asarray(self.config.roles)[part % 2], 0).astype(np.int8)
        batch = Batch(ids=ids, special=~inside, segments=roles)
        if "word_starts" in self.store:
            batch["word_starts"] = self.store["word_starts"][address] | ~inside
        for name in NOTES:
            if name in self.store:
                batch[name] = blank(self.store[name][address], ~inside)
        return batch if valid.all() else batch.but(valid=valid)


def fit(size: Int[np.ndarray, "b n"], room: int) -> Int[np.ndarray, "b n"]:
    """How much of each turn stays in `room` tokens: what short turns leave is shared by the long ones."""
    share = room // size.shape[1]
    spare = np.maximum(share - size, 0).sum(1, keepdims=True)
    long = np.maximum((size > share).sum(1, keepdims=True), 1)
    return np.minimum(size, share + spare // long)
