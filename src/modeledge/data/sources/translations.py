"""A sentence and its translation, one after the other in a row, or as two texts of a row.

Sources: one row of both languages whose second half counts positions anew, XLM's TLM, arXiv:1901.07291 §3.3 and §3.4;
pairs that are no translations but look like them, Unicoder's classification, arXiv:1909.00964 §3.2. Not here: encoder
and decoder (parallel.py)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Facts, TooLittle
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame
from modeledge.data.store import Store


class Translations(Source):
    """joined: [cls] A [sep] [cls] B [sep] in `ids` b t (four separators where cls and sep are one token, as in XLM's
    vocabulary); apart: the framed texts as `ids` b 2 t. `lang` says which language a token is of; with negatives,
    `is_next` is 0 for a translation and 1 for another sentence of like length."""

    class Config(Source.Config):
        """langs: the numbers of the two languages; layout: one row or two texts; positions: of the second half of a
        row, from 0 again or going on; negatives: share of rows whose B belongs to another A, one of the `near` pairs
        that come closest in length."""

        langs: tuple[int, int] = (0, 1)
        layout: Literal["joined", "apart"] = "joined"
        positions: Literal["reset", "on"] = "reset"
        negatives: float = Field(0.0, ge=0, le=1)
        near: int = Field(32, ge=1)

    reads = "parallel"

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        self.first, self.second = (np.asarray(self.store.offsets(name)) for name in ("tokens", "second"))
        self.number(len(self.first) - 1)
        self.by_length = np.argsort(np.diff(self.second), kind="stable")
        self.place = np.argsort(self.by_length)
        if config.negatives and self.count < 2:
            raise TooLittle(f"{self.store.path}: a pair that is no translation needs at least two pairs, there is one")

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        cfg, wrong = self.config, np.zeros(len(index), bool)
        other = index
        if cfg.negatives:
            wrong = rng.random(len(index)) < cfg.negatives
            other = np.where(wrong, self._like(index, rng), index)
        sizes = [at[row + 1] - at[row] for at, row in ((self.first, index), (self.second, other))]
        if cfg.layout == "joined":
            room = cfg.length - 2 * (self.frame.head + 1)
            sizes = [np.minimum(one, np.maximum(room - two, room // 2)) for one, two in (sizes, sizes[::-1])]
            sizes[1] = np.minimum(sizes[1], room - sizes[0])
        else:
            sizes = [np.minimum(n, cfg.length - self.frame.head - 1) for n in sizes]
        texts = [
            self._framed(self.store[name], begin, size, cfg.length)
            for name, begin, size in zip(
                ("tokens", "second"), (self.first[index], self.second[other]), sizes, strict=True
            )
        ]
        batch = self._joined(*texts) if cfg.layout == "joined" else self._apart(*texts)
        return batch.but(is_next=wrong.astype(np.int64)) if cfg.negatives else batch

    def _like(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Int[np.ndarray, " b"]:
        """Another pair for each, among those whose second text is closest in length."""
        near = min(self.config.near, self.count - 1)
        step = 1 + rng.integers(0, near, len(index))
        at = self.place[index]
        low = np.clip(at - near // 2, 0, self.count - 1 - near)  # a stretch of near + 1 places that holds `at`
        return self.by_length[low + (at - low + step) % (near + 1)]

    def _framed(self, tokens: np.ndarray, begin: np.ndarray, size: np.ndarray, length: int) -> Batch:
        """[cls] text [sep] and padding."""
        place, head = np.arange(length), self.frame.head
        inside = (place >= head) & (place < head + size[:, None])
        ids = tokens[np.where(inside, begin[:, None] - head + place, 0)].astype(np.int32)
        ids[~inside] = self.frame.sep
        valid = place <= head + size[:, None]
        ids[~valid] = self.frame.pad
        if self.frame.cls is not None:
            ids[:, 0] = self.frame.cls
        return Batch(ids=ids, special=~inside, valid=valid)

    def _apart(self, one: Batch, two: Batch) -> Batch:
        batch = Batch({k: np.stack([one[k], two[k]], axis=1) for k in one})
        lang = np.asarray(self.config.langs, np.int32)[None, :, None]
        return batch.but(lang=np.broadcast_to(lang, batch.ids.shape).copy())

    def _joined(self, one: Batch, two: Batch) -> Batch:
        """The second text begins where the first one's separator ended."""
        b, t = one.ids.shape
        n = one.valid.sum(axis=1)[:, None]
        place = np.arange(t)
        later = place >= n
        at = np.where(later, place - n, place)
        row = np.arange(b)[:, None]
        batch = Batch({k: np.where(later, two[k][row, at], one[k]) for k in one})
        batch["lang"] = np.asarray(self.config.langs, np.int32)[later.astype(np.int64)]
        if self.config.positions == "reset":
            batch["positions"] = at.astype(np.int32)
        return batch.but(valid=None) if batch.valid.all() else batch
