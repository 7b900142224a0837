"""A text store of random tokens, and what it holds as plain lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeledge.core import Facts, find
from modeledge.data import Store, StoreWriter

PAD, CLS, SEP, FIRST = 0, 1, 2, 10


class Corpus:
    """documents: lists of sentences, each a list of token ids, no two tokens of the corpus alike."""

    def __init__(self, folder: Path, sizes: list[list[int]], *, lang: list[int] | None = None):
        numbers = iter(range(FIRST, 1 << 31))
        self.documents = [[[next(numbers) for _ in range(n)] for n in document] for document in sizes]
        flat = [t for d in self.documents for s in d for t in s]
        begins = np.cumsum([0] + [len(s) for d in self.documents for s in d])[:-1]
        with StoreWriter(folder) as writer:
            writer.ragged("tokens", np.uint32, np.array(flat), np.array([sum(map(len, d)) for d in self.documents]))
            writer.column("sentences", np.int64).append(begins)
            writer.column("word_starts", bool).append(np.array(flat) % 3 > 0)
            if lang is not None:
                writer.column("lang", np.uint16).append(np.array(lang))
            writer.finish(rows=len(sizes), meta={})
        self.store = Store.open(folder)
        special = {"pad": PAD, "cls": CLS, "sep": SEP}
        self.facts = Facts(vocab=FIRST + len(flat), special=special, words=(FIRST, FIRST + len(flat)))

    def source(self, kind: str, **settings: Any) -> Any:
        part = find("data.sources", kind)
        return part(part.Config(kind=kind, **settings), self.store, self.facts)


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Corpus]:
    def make(sizes: list[list[int]] | None = None, **options: Any) -> Corpus:
        if sizes is None:
            rng = np.random.default_rng(0)
            sizes = [rng.integers(1, 12, rng.integers(1, 9)).tolist() for _ in range(60)]
        return Corpus(tmp_path / "store", sizes, **options)

    return make


class Column:
    """A column of which places can be read, and which is never read whole."""

    def __init__(self, values: np.ndarray):
        self.values = values

    def __getitem__(self, at: np.ndarray) -> np.ndarray:
        return self.values[at]

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, *args: Any, **named: Any) -> np.ndarray:
        raise AssertionError("the whole column was read for one batch")


@pytest.fixture
def column() -> type[Column]:
    return Column
