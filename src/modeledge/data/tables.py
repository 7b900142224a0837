"""Labelled tables as they come: csv, tsv, JSON lines, parquet, a `datasets` folder; small enough to be read whole.

Where a source wants a store it may get a table: `open_data` tells which of the two lies at a path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from modeledge.core import DataError
from modeledge.data.readers import TABLES, Bad, Record, Wanted, ending, expand, read
from modeledge.data.store import META, Store, sources_of

_TRAIN = ("train", "training")
_VALID = ("valid", "validation", "val", "dev")


class Table:
    """Rows with named columns in one or more files; `valid` is the table of held-out rows, `train` the one it belongs
    to."""

    def __init__(self, path: Path, files: list[Path], *, valid: Table | None = None):
        self.path, self.files, self.valid = path, files, valid
        self.train: Table | None = None
        if valid is not None:
            valid.train = self

    @classmethod
    def open(cls, path: str | Path | Sequence[str | Path], *, valid: str | Path | None = None) -> Table:
        """A table and its held-out part: the files given as `valid`, else x.valid.* beside x.train.*, else the split of
        that name in a folder (valid, validation, val or dev), else none. Raises DataError for files that do not
        exist."""
        first = Path(path if isinstance(path, str | Path) else path[0])
        held: Any = Path(valid) if valid is not None else None
        if held is None and isinstance(path, str | Path):
            path, held = _splits(first)
        files = expand(path, allowed=TABLES)
        if held is None:
            return cls(first, files)
        home = held[0] if isinstance(held, list) else held
        return cls(first, files, valid=cls(home, expand(held, allowed=TABLES)))

    def __contains__(self, name: str) -> bool:
        return False  # a table has no columns of a store

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What the table is made of: names, sizes and SHA-256 of its files."""
        told = [{**said, "file": Path(said["file"]).name} for said in sources_of(self.files)]
        return {"kind": "table", "sources": told, "valid": self.valid.meta if self.valid else None}

    def part(self, split: str) -> Table:
        """The rows of a split. Raises DataError if there are no held-out rows."""
        if split == "train":
            return self
        if self.valid is None:
            raise DataError(f"{self.path}: no held-out rows\n  next: give the file with the validation rows too")
        return self.valid

    def read(self, wanted: Wanted) -> list[Record]:
        """Every row. Raises DataError with file and line at a bad one, and if there is none."""
        rows: list[Record] = []
        for file in self.files:
            for record in read(file, wanted, Counter()):
                if isinstance(record, Bad):
                    raise DataError(str(record))
                rows.append(record)
        if not rows:
            raise DataError(f"{self.path}: the table has no rows")
        return rows


def rows_of(store: Store, *, text: str, second: str | None, label: str) -> list[Record]:
    """The rows of a prepared table as records: texts as token ids, classes by their names."""
    names, file = store.meta.get("labels") or [], str(store.path)
    columns = {text: _ragged(store, "tokens")} | ({second: _ragged(store, "second")} if second else {})
    if "label" in store:
        columns[label] = [names[v] if names else float(v) for v in store["label"]]
    rows = enumerate(zip(*columns.values(), strict=True), start=1)
    return [Record(dict(zip(columns, row, strict=True)), file, nth) for nth, row in rows]


def _ragged(store: Store, name: str) -> list[Any]:
    return np.split(np.asarray(store[name], np.int32), store.offsets(name)[1:-1])


def open_data(path: str | Path, *, valid: str | Path | None = None) -> Store | Table:
    """The store in a folder with a store.json, else the table at the path; `valid`: its held-out rows, instead of those
    that were held out of it or lie beside it."""
    if not (Path(path) / META).is_file():
        return Table.open(path, valid=valid)
    store = Store.open(path)
    if valid is not None:
        store.valid = open_data(valid)  # type: ignore[assignment]
    return store


def _splits(path: Path) -> tuple[str | Path | list[Path], Path | list[Path] | None]:
    """The training files at `path`, and the held-out ones beside them."""
    if path.is_file():
        for word in _TRAIN:
            beside = [path.with_name(path.name.replace(f".{word}.", f".{v}.")) for v in _VALID]
            found = [b for b in beside if b.is_file()] if f".{word}." in path.name else []
            if found:
                return path, found[0]
        return path, None
    if path.is_dir() and ending(path) == "arrow" and not (path / "state.json").is_file():
        inside = sorted(path.iterdir())
        train = [p for p in inside if _stem(p) in _TRAIN]
        held = [p for p in inside if _stem(p) in _VALID]
        if train:
            return train, held or None
    return path, None


def _stem(path: Path) -> str:
    return path.name.split(".", 1)[0].split("-", 1)[0].lower()
