"""A sentence and its translation, one after the other in a row, or as two texts of a row.

Sources: one row of both languages whose second half counts positions anew, XLM's TLM, arXiv:1901.07291 §3.3 and §3.4;
pairs that are no translations but look like them, Unicoder's classification, arXiv:1909.00964 §3.2. Not here: encoder
and decoder (parallel.py)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from modeledge.core import Batch, Facts, TooLittle
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame
from modeledge.data.store import Store

_PIECE = 1 << 22
"""Tokens counted at a time."""


class Translations(Source):
    """joined: [cls] A [sep] [cls] B [sep] in `ids` b t (four separators where cls and sep are one token, as in XLM's
    vocabulary); apart: the framed texts as `ids` b 2 t. `lang` says which language a token is of; with negatives,
    `is_next` is 0 for a translation and 1 for another sentence that is like it."""

    class Config(Source.Config):
        """langs: the numbers of the two languages; layout: one row or two texts; positions: of the second half of a
        row, from 0 again or going on; negatives: share of rows whose B belongs to another A; near, hard: of the `near`
        pairs that come closest in length, one of the `hard` whose B shares most with the right one, rare tokens
        counting more. A B that says the same is never a negative."""

        langs: tuple[int, int] = (0, 1)
        layout: Literal["joined", "apart"] = "joined"
        positions: Literal["reset", "on"] = "reset"
        negatives: float = Field(0.0, ge=0, le=1)
        near: int = Field(32, ge=1)
        hard: int = Field(4, ge=1)

    reads = "parallel"

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        self.first, self.second = (np.asarray(self.store.offsets(name)) for name in ("tokens", "second"))
        self.number(len(self.first) - 1)
        self.by_length = np.argsort(np.diff(self.second), kind="stable")
        self.place = np.argsort(self.by_length)
        self.tokens = np.asarray(self.store["second"])
        self.worth = self._worth() if config.negatives else np.zeros(0)
        if config.negatives and self.count < 2:
            raise TooLittle(f"{self.store.path}: a pair that is no translation needs at least two pairs, there is one")

    def _worth(self) -> Float[np.ndarray, " v"]:
        """How telling each token is: minus the log of its share."""
        counts = np.zeros(self.facts.vocab, np.int64)
        for at in range(0, len(self.tokens), _PIECE):
            counts += np.bincount(self.tokens[at : at + _PIECE], minlength=len(counts))
        return np.log(max(len(self.tokens), 1) / np.maximum(counts, 1))

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        cfg, wrong, other = self.config, np.zeros(len(index), bool), index.copy()
        if cfg.negatives:
            wrong = rng.random(len(index)) < cfg.negatives
            other[wrong], found = self._like(index[wrong], rng)
            wrong[wrong] = found
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

    def _like(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """For each pair another one whose second text is like its own, and whether there is one (else itself)."""
        near = min(self.config.near, self.count - 1)
        low = np.clip(self.place[index] - near // 2, 0, self.count - 1 - near)  # near + 1 places, one of them its own
        pool = self.by_length[low[:, None] + np.arange(near + 1)]
        shared = self._shared(index, pool)
        shared[self._same(index, pool)] = -1
        best = np.argsort(-shared, axis=1, kind="stable")[:, : self.config.hard]
        known = np.take_along_axis(shared, best, 1) >= 0  # these come first
        turn = (rng.random(len(index)) * known.sum(1)).astype(np.int64)
        found = known[:, 0]
        return np.where(found, pool[np.arange(len(index)), best[np.arange(len(index)), turn]], index), found

    def _shared(self, index: Int[np.ndarray, " b"], pool: Int[np.ndarray, "b n"]) -> Float[np.ndarray, "b n"]:
        """What the second texts of the pool have in common with that of each row: the worth of the kinds of tokens."""
        vocab, (b, n) = self.facts.vocab, pool.shape
        at, row = ranges(self.second, index)
        own = np.sort(row * vocab + self.tokens[at])
        at, text = ranges(self.second, pool.ravel())
        token = self.tokens[at].astype(np.int64)
        key = text // n * vocab + token
        hit = own[np.minimum(np.searchsorted(own, key), len(own) - 1)] == key
        kinds = np.sort(text[hit] * vocab + token[hit])
        kinds = kinds[np.diff(kinds, prepend=-1) > 0]  # a token counts once
        return np.bincount(kinds // vocab, self.worth[kinds % vocab], b * n).reshape(b, n)

    def _same(self, index: Int[np.ndarray, " b"], pool: Int[np.ndarray, "b n"]) -> Bool[np.ndarray, "b n"]:
        """Which second texts of the pool say the very same."""
        sizes, own = (self.second[row + 1] - self.second[row] for row in (pool, index))
        same = sizes == own[:, None]
        at, text = ranges(self.second, pool[same])
        mine, _ = ranges(self.second, np.broadcast_to(index[:, None], pool.shape)[same])
        differs = np.bincount(text, self.tokens[at] != self.tokens[mine], int(same.sum()))
        same[same] = differs == 0
        return same

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


def ranges(offsets: Int[np.ndarray, " n"], texts: Int[np.ndarray, " k"]) -> tuple[np.ndarray, np.ndarray]:
    """The places of the tokens of some texts, one text after the other, and which of these texts each is of."""
    sizes = offsets[texts + 1] - offsets[texts]
    which = np.repeat(np.arange(len(texts)), sizes)
    within = np.arange(len(which)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return offsets[texts][which] + within, which
