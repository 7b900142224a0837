"""Documents whose sentences change the language at every turn, made of consecutive pairs of translations.

Source: cross-lingual masked language modelling, Unicoder, arXiv:1909.00964 §3.2. The pairs of the store should stand in
the order of their documents. Not here: words that change the language (ALM)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch, Facts
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame
from modeledge.data.store import Store


class Alternating(Source):
    """[cls] sentences [sep] without padding; row r is read from stream r % 2, where pair i is shown in language
    (i + r) % 2, so an epoch shows every sentence once, in both languages."""

    class Config(Source.Config):
        """langs: the numbers of the two languages."""

        langs: tuple[int, int] = (0, 1)

    reads = "parallel"

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        self.room = self.frame.room(config.length)
        offsets = [np.asarray(self.store.offsets(name)) for name in ("tokens", "second")]
        self.first = [o[:-1] for o in offsets]
        pair = np.arange(len(offsets[0]) - 1)
        self.starts = []  # of each pair in either stream
        for turn in (0, 1):
            sizes = np.where((pair + turn) % 2 == 0, np.diff(offsets[0]), np.diff(offsets[1]))
            self.starts.append(np.concatenate([[0], np.cumsum(sizes)]))
        self.number(2 * min(int(s[-1]) // self.room for s in self.starts))

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        b, length, head = len(index), self.config.length, self.frame.head
        ids = np.full((b, length), self.frame.sep, np.int32)
        lang = np.zeros((b, length), np.int32)
        inside = slice(head, head + self.room)
        for turn in (0, 1):
            rows = index % 2 == turn
            place = (index[rows] // 2)[:, None] * self.room + np.arange(self.room)
            pair = np.searchsorted(self.starts[turn], place, side="right") - 1
            within, second = place - self.starts[turn][pair], (pair + turn) % 2 == 1
            texts = [self.store[n][f[pair] + np.where(s, within, 0)] for n, f, s in (
                ("tokens", self.first[0], ~second), ("second", self.first[1], second))]  # fmt: skip
            ids[rows, inside] = np.where(second, texts[1], texts[0])
            lang[rows, inside] = np.asarray(self.config.langs)[second.astype(np.int64)]
        lang[:, -1] = lang[:, -2]
        special = np.ones((b, length), bool)
        special[:, inside] = False
        if self.frame.cls is not None:
            ids[:, 0], lang[:, 0] = self.frame.cls, lang[:, 1]
        return Batch(ids=ids, special=special, lang=lang)
