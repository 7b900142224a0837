"""Rows with facts hung onto the words they are about.

Source: K-BERT, arXiv:1909.07606 §3.2-3.3: relation and object follow their subject in the row, but take the places that
follow it in reading order (soft positions), which the sentence goes on with as if they were not there. As in the
released code a branch is segment 1, and at most two hang on a mention. Who sees whom: visibility/tree.py."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from modeledge.core import IGNORE, Config, DataError
from modeledge.data._gazetteer import Gazetteer
from modeledge.data._names import Numbers
from modeledge.data.readers import Bad, Record, Wanted, read
from modeledge.data.sources._forms import Row
from modeledge.data.sources._mentions import mentions

_INSERTED = {"special": False, "word_starts": False, "labels": IGNORE, "words": -1, "entities": -1, "segments": 1}
"""What stands at the tokens of a branch in each field of a row."""


class Hung(Config):
    """file: facts, a line of subject, relation and object each, with tabs between; branches: at most so many on a
    mention."""

    file: str
    branches: int = Field(2, ge=1)


FactsFile = Annotated[Hung, BeforeValidator(lambda v: {"file": str(v)} if isinstance(v, str | Path) else v)]
"""Settings of a tree; a path alone will do."""


class Tree:
    """The facts of a file, ready to be hung onto rows."""

    def __init__(self, config: Hung, tokenizer: Any):
        numbers, told = Numbers(), []
        for record in read(
            _file(config.file), Wanted(dict.fromkeys(("head", "relation", "tail"), (str,)), bare=True), Counter()
        ):
            if isinstance(record, Bad):
                raise DataError(f"{record}\n  next: each line is a subject, a tab, a relation, a tab, an object")
            assert isinstance(record, Record)
            subject = numbers[record.value["head"]]
            if subject == len(told):
                told.append([])
            if len(told[subject]) < config.branches:
                told[subject].append(f"{record.value['relation']} {record.value['tail']}".split())
        ids = [e.ids for e in tokenizer.encode_words([words for facts in told for words in facts])]
        ends = np.cumsum([len(facts) for facts in told])
        self.branches = [ids[end - len(facts) : end] for end, facts in zip(ends, told, strict=True)]
        self.gazetteer = Gazetteer(list(numbers), list(range(len(numbers))), tokenizer)
        self.tokenizer = tokenizer

    def grow(self, rows: list[Row], length: int) -> list[Row]:
        """The rows with their branches, cut to `length`; further fields `positions`, `branch` and `anchor`."""
        found = mentions(rows, self.gazetteer, self.tokenizer)
        return [self._grown(row, *of, length) for row, of in zip(rows, found, strict=True)]

    def _grown(self, row: Row, marks: np.ndarray, starts: np.ndarray, length: int) -> Row:
        ids = row["ids"]
        first = np.flatnonzero(starts)
        anchor, place = np.cumsum(starts) * (marks >= 0), np.arange(len(ids))
        after, texts, owners = [], [], []
        for nth, at in enumerate(first.tolist(), start=1):
            end = int(np.flatnonzero(anchor == nth)[-1]) + 1
            after += [end] * len(self.branches[marks[at]])
            texts += self.branches[marks[at]]
            owners += [nth] * len(self.branches[marks[at]])
        sizes = np.array([len(text) for text in texts], np.int64)
        where = np.repeat(np.array(after, np.int64), sizes)
        inner = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        added = {
            "ids": np.concatenate([*texts, np.zeros(0, np.int32)]),
            "positions": where + inner,
            "branch": np.repeat(np.arange(1, len(texts) + 1), sizes),
            "anchor": np.repeat(np.array(owners, np.int64), sizes),
        }
        own = row | {"positions": place, "branch": np.zeros_like(place), "anchor": anchor}
        own.setdefault("segments", np.zeros(len(ids), np.int8))
        grown = {}
        for name, values in own.items():
            new = added.get(name, _INSERTED.get(name, 0))
            grown[name] = np.insert(values, where, new).astype(values.dtype)[:length]
        return grown


def _file(name: str) -> Path:
    if not Path(name).is_file():
        raise DataError(f"{name}: no such file of facts\n  next: --graph FILE")
    return Path(name)
