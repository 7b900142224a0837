"""Rows of a labelled table, encoded and held in memory: what downstream tasks are trained and judged on.

Sources: the input forms of BERT, arXiv:1810.04805 §4, and of the tokenizer's own template. Not here: what the labels
are used for (objectives), prepared stores (the other sources)."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field, model_validator

from modeledge.core import IGNORE, Batch, DataError, Facts, InputError, PartConfig, nearest
from modeledge.data.readers import Record, Wanted
from modeledge.data.sources import Source
from modeledge.data.sources._mentions import Linker
from modeledge.data.sources._rows import Limit, Rows
from modeledge.data.sources._table_forms import FORMS, Encoded, Reader, options_of, wanted_columns
from modeledge.data.sources._tree import FactsFile, Tree
from modeledge.data.store import Store
from modeledge.data.tables import Table, rows_of

_SLICE = 1024
_FILLS = {"special": 1, "word_starts": 1, "labels": IGNORE, "words": -1, "passage_spans": -1, "entities": -1}


class LabelledTable(Source):
    """Fields by form, each with `row` [b], the number of the table's row:

    text      ids b t of one text or of a pair, `segments` where the family has them; `label` [b]
    both      ids b 2 t, a pair in either order; `label` [b]
    separate  ids b 2 t, each text by itself; `label` [b]
    choice    ids b n t, the context with each option; `label` [b], the number of the right one
    words     ids b t, `labels` b t on the first token of each word, `words` b t
    span      ids b t of a question and a window of its passage, `begins` and `ends` [b] (0: not in this window),
              `passage_spans` b t 2, characters of the passage; several rows may come from one question
    generate  ids b t, `target_ids` b u with an end token, `target_valid` b u"""

    class Config(PartConfig):
        """length: tokens a row; text, second: columns (span: question and passage); label: the column of classes,
        numbers, tags, answers or target texts; target: what it holds (none: there is none, e.g. to predict);
        choices: columns of the options, or one column with a list of them; stride: tokens two windows share;
        labels: names of the classes (default: those of the training rows, sorted), or what the options are numbered by
        (default: from 1 if a training row names the last of them so and none says 0, else from 0);
        limit: only so many rows; graph: a file of facts to hang onto the words they are about
        (K-BERT); entities: a file of surface forms and the entities they name, to be marked (Tsinghua ERNIE)."""

        length: int = Field(128, ge=8, le=1 << 16)
        form: Literal["text", "both", "separate", "choice", "words", "span", "generate"] = "text"
        target: Literal["class", "number", "none"] = "class"
        text: str = "text"
        second: str | None = None
        label: str = "label"
        choices: tuple[str, ...] = ()
        stride: int = Field(64, ge=0)
        labels: tuple[str, ...] | None = None
        limit: Limit | None = None
        graph: FactsFile | None = None
        entities: str | None = None

        @model_validator(mode="after")
        def _hangs(self) -> LabelledTable.Config:
            if self.graph is not None and self.form in ("span", "generate"):
                raise ValueError(f"facts cannot be hung onto rows of the form {self.form!r}")
            if self.entities is not None and self.form == "generate":
                raise ValueError("entities are not marked in rows of the form 'generate'")
            return self

    reads = "table"

    def __init__(self, config: Config, store: Table | Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        if facts.tokenizer is None:
            raise InputError(f"{store.path}: reading a table of texts needs the model's tokenizer")
        self.tree = Tree(config.graph, facts.tokenizer) if config.graph else None
        self.linker = Linker(config.entities, facts) if config.entities else None
        records = self._read(self.store)
        self.labels = self._label_names(records)
        self.numbers = {name: i for i, name in enumerate(self.labels)}
        kept = np.arange(len(records))
        if config.limit is not None and split == "train":
            kept = config.limit.of(len(records))
        self.row = kept
        self.records = [records[i] for i in kept]
        parts = [self._encode(first) for first in range(0, len(self.records), _SLICE)]
        self.table = Rows([r for p in parts for r in p.rows], _FILLS | {"ids": facts.pad})
        self.targets = Rows([r for p in parts for r in p.targets], {"ids": facts.pad})
        owners = [o + n * _SLICE for n, p in enumerate(parts) for o in p.owners]
        self.owner: Int[np.ndarray, " n"] = np.array(owners, np.int64)
        names = parts[0].extra
        self.extra = {name: np.array([v for p in parts for v in p.extra[name]], np.int64) for name in names}
        self.truncated = sum(p.truncated for p in parts)
        self.label = self._label_column()
        self.number(len(self.owner))

    def _read(self, table: Table | Store) -> list[Record]:
        cfg = self.config
        if isinstance(table, Store):
            if cfg.target != "none" and "label" not in table:
                raise DataError(f"{table.path}: these rows have no label\n  next: prepare with --column label=COLUMN")
            return rows_of(table, text=cfg.text, second=cfg.second, label=cfg.label)
        columns, optional = wanted_columns(self.config)
        return table.read(Wanted(columns, optional=optional))

    def _encode(self, first: int) -> Encoded:
        reader = Reader(self.config, self.facts.tokenizer, self.class_number)
        made = FORMS[self.config.form](reader, self.records[first : first + _SLICE])
        if self.linker is not None:
            made = made._replace(rows=self.linker.mark(made.rows))
        if self.tree is not None:
            made = made._replace(rows=self.tree.grow(made.rows, self.config.length))
        return made

    def _label_names(self, records: list[Record]) -> list[str]:
        cfg = self.config
        if cfg.target != "class" or cfg.form in ("span", "generate"):
            return []
        if cfg.labels is not None:
            return list(cfg.labels)
        if cfg.form == "choice":
            return self._option_numbers(records)
        if isinstance(self.store, Store) and self.store.meta.get("labels"):
            return list(self.store.meta["labels"])
        found = [r.value[cfg.label] for r in self._training(records)]
        values = {tag for tags in found for tag in tags} if cfg.form == "words" else set(found)
        return sorted({str(v) for v in values}, key=_order)

    def _training(self, records: list[Record]) -> list[Record]:
        """The training rows: these, or those of the table they were held out of."""
        train = getattr(self.store, "train", None)
        return records if train is None else self._read(train)

    def _option_numbers(self, records: list[Record]) -> list[str]:
        """What the options are numbered by: a few rows alone cannot tell 1 of 0, 1 from 1 of 1, 2."""
        options = len(options_of(records[0], self.config))
        said = {_number(r.value[self.config.label]) for r in self._training(records)}
        first = int(options in said and 0 not in said)
        return [str(number) for number in range(first, first + options)]

    def class_number(self, record: Record, name: Any) -> int:
        """The number of a class. Raises DataError for one that does not occur in the training rows."""
        number = self.numbers.get(str(name))
        if number is None:
            close = nearest(str(name), self.labels)
            raise DataError(
                f"{record.file}:{record.line}: the label {str(name)!r} does not occur in training"
                + (f"; did they mean {close!r}?" if close else "")
                + f"\n  known: {', '.join(self.labels[:20])}"
            )
        return number

    def _label_column(self) -> np.ndarray | None:
        cfg = self.config
        if cfg.target == "none" or cfg.form in ("words", "span", "generate"):
            return None
        if cfg.form == "choice":
            return np.array([_option(r, cfg, self.numbers) for r in self.records], np.int64)
        if cfg.target == "number":
            return np.array([_float(r, cfg.label) for r in self.records], np.float32)
        return np.array([self.class_number(r, r.value[cfg.label]) for r in self.records], np.int64)

    def class_counts(self) -> Int[np.ndarray, " c"] | None:
        if not self.labels:
            return None
        told = self.label if self.label is not None else self.table.fields["labels"]
        return np.bincount(told[told != IGNORE], minlength=len(self.labels))

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        owner = self.owner[index]
        texts = len(self.table) // max(len(self.owner), 1)  # choice, separate and both have several a row
        if self.config.form in ("choice", "separate", "both"):
            inner = (index[:, None] * texts + np.arange(texts)).reshape(-1)
            batch = self._padded(inner)
            batch = Batch({k: v.reshape(len(index), texts, *v.shape[1:]) for k, v in batch.items()})
        else:
            batch = self._padded(index)
        if len(self.targets):
            target = self.targets.pad(index, int(self.targets.sizes[index].max()))
            batch |= {"target_ids": target.ids, "target_valid": target.get("valid", np.ones(target.ids.shape, bool))}
        if self.label is not None:
            batch["label"] = self.label[owner]
        return Batch(batch | {name: values[index] for name, values in self.extra.items()} | {"row": self.row[owner]})

    def _padded(self, index: Int[np.ndarray, " n"]) -> Batch:
        """Rows as wide as the longest of them, up to a multiple of 8 (few shapes, little padding)."""
        longest = int(self.table.sizes[index].max(initial=1))
        return self.table.pad(index, min(self.config.length, -(-longest // 8) * 8))


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _order(value: Any) -> tuple[float, str]:
    number = _number(value)
    return (float("inf") if number is None else number, str(value))


def _float(record: Record, column: str) -> float:
    found = record.value[column]
    try:
        number = float(found)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        said = str(found)[:40]
        raise DataError(f"{record.file}:{record.line}: field {column!r}: expected a finite number, found {said!r}")
    return number


def _option(record: Record, config: Any, numbers: dict[str, int]) -> int:
    """Which option is right: by number, by the column's name, or by letter."""
    value, options = record.value[config.label], options_of(record, config)
    number = _number(value)
    if number is not None:
        number = numbers.get(str(number), -1)
    else:
        names = [name.lower() for name in config.choices]
        text = str(value).lower()
        number = names.index(text) if text in names else "abcdefghij".find(text) if len(text) == 1 else -1
    if not 0 <= number < len(options):
        raise DataError(
            f"{record.file}:{record.line}: field {config.label!r}: {value!r} names none of {len(options)} options"
        )
    return number
