"""The store: a folder of memory-mapped .npy columns and store.json, readable with numpy alone.

Format: docs/store.md. Written aside and renamed, store.json last, so that a store is complete or absent. Not here: what
goes into it (prepare.py), how rows are cut from it (sources/)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from modeledge.core import DataError, InputError, unknown

FORMAT = 1
META = "store.json"
_HEADER = 128
_VERIFIED_AT_ONCE = 256 << 20
"""Columns of up to so many bytes in all are hashed when a store is opened (about 0.2 s); `verify` hashes the rest."""


class Store:
    """An open store: `store["tokens"]` is a column by mmap, `store.valid` the held-out part or None, `store.meta`
    the content of store.json."""

    def __init__(self, path: Path, meta: dict[str, Any], columns: dict[str, np.ndarray], valid: Store | None):
        self.path, self.meta, self.columns, self.valid = path, meta, columns, valid

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open a store without reading its columns into memory.

        Raises DataError naming the file if the store is absent, incomplete, damaged or of a newer format."""
        path = Path(path)
        meta = _read_meta(path)
        columns = {name: _read_column(path, name, said) for name, said in meta["columns"].items()}
        valid = cls.open(path / "valid") if meta.get("valid") else None
        store = cls(path, meta, columns, valid)
        _check_offsets(store)
        if sum(c["bytes"] for c in meta["columns"].values()) <= _VERIFIED_AT_ONCE:
            store.verify()
        return store

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.columns:
            raise DataError(unknown(str(self.path), "column", name, self.columns))
        return self.columns[name]

    def offsets(self, name: str) -> np.ndarray:
        """Where each row of a ragged column begins: int64 [n + 1]. Raises DataError if the column is not ragged."""
        return self[f"{name}.offsets"]

    @property
    def rows(self) -> int:
        """How many documents, pairs or images."""
        return int(self.meta["rows"])

    def part(self, split: str) -> Store:
        """The store of a split: `train` is the store itself, `valid` what was held out.

        Raises DataError if nothing was held out."""
        if split == "train":
            return self
        if self.valid is None:
            then = "prepare again with --valid, or give the validation data by name"
            raise DataError(f"{self.path}: nothing was held out for validation\n  next: {then}")
        return self.valid

    def verify(self) -> None:
        """Compare every column with its SHA-256. Raises DataError naming the first that differs."""
        for name, said in self.meta["columns"].items():
            file = self.path / f"{name}.npy"
            if sha256(file) != said["sha256"]:
                raise DataError(f"{file}: its content is not what was written; prepare the data again")


class Column:
    """A .npy file that grows: rows are appended, the header is written when it is closed."""

    def __init__(self, file: Path, dtype: Any, shape: tuple[int, ...] = ()):
        self.file, self.dtype, self.shape, self.rows = file, np.dtype(dtype), tuple(shape), 0
        assert not self.dtype.hasobject
        self.out = open(file, "wb")
        self.out.write(b"\0" * _HEADER)

    def append(self, values: np.ndarray) -> None:
        """Add rows; they are converted to the column's dtype."""
        values = np.ascontiguousarray(values, self.dtype)
        assert values.shape[1:] == self.shape, (self.file, values.shape, self.shape)
        self.out.write(values.data)  # type: ignore[arg-type]
        self.rows += len(values)

    def written(self) -> np.ndarray:
        """What was appended so far, by mmap."""
        self.out.flush()
        shape = (self.rows, *self.shape)
        return np.memmap(self.file, self.dtype, "r", _HEADER, shape) if self.rows else np.empty(shape, self.dtype)

    def close(self) -> dict[str, Any]:
        """Write the header and say what the file holds."""
        shape = (self.rows, *self.shape)
        head = repr({"descr": self.dtype.newbyteorder("<").str, "fortran_order": False, "shape": shape}).encode()
        self.out.seek(0)
        self.out.write(b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little"))
        self.out.write(head.ljust(_HEADER - 11) + b"\n")
        self.out.flush()
        os.fsync(self.out.fileno())
        self.out.close()
        size = self.file.stat().st_size
        return {"dtype": self.dtype.name, "shape": list(shape), "bytes": size, "sha256": sha256(self.file)}


class StoreWriter:
    """Writes a store aside, as `<name>.partial`, and renames it when it is complete.

    with StoreWriter(path) as writer:
        writer.column("label", np.int32).append(...)
        writer.ragged("tokens", np.uint16, values, lengths)
        writer.finish(rows=n, meta={...})
    """

    def __init__(self, path: Path | str, *, inside: bool = False):
        self.path = Path(path)
        self.folder = self.path if inside else self.path.with_name(self.path.name + ".partial")
        self.columns: dict[str, Column] = {}
        self.inner: StoreWriter | None = None
        self._inside = inside
        if not inside:
            require_free(self.path)
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def column(self, name: str, dtype: Any, shape: Sequence[int] = ()) -> Column:
        """The column `name`, made at the first call."""
        if name not in self.columns:
            self.columns[name] = Column(self.folder / f"{name}.npy", dtype, tuple(shape))
        return self.columns[name]

    def ragged(self, name: str, dtype: Any, values: np.ndarray, lengths: np.ndarray) -> None:
        """Append rows of different lengths to the column `name` and their ends to `name.offsets`."""
        column = self.column(name, dtype)
        offsets = self.column(f"{name}.offsets", np.int64)
        if not offsets.rows:
            offsets.append(np.zeros(1, np.int64))
        offsets.append(column.rows + np.cumsum(lengths))
        column.append(values)

    def valid(self) -> StoreWriter:
        """The writer of the held-out part."""
        if self.inner is None:
            self.inner = StoreWriter(self.folder / "valid", inside=True)
        return self.inner

    def finish(
        self, *, rows: int, meta: dict[str, Any], valid_rows: int = 0, valid_meta: dict[str, Any] | None = None
    ) -> Path:
        """Close the columns, write store.json, rename. `meta` is what the reader should know; its keys are free;
        valid_meta: what is otherwise in the held-out part."""
        if self.inner is not None:
            self.inner.finish(rows=valid_rows, meta=meta | (valid_meta or {}))
        columns = {name: column.close() for name, column in self.columns.items()}
        content = {"format": FORMAT, "rows": rows, "valid": self.inner is not None, **meta, "columns": columns}
        file = self.folder / META
        with open(file, "w", encoding="utf-8") as out:
            json.dump(content, out, indent=1, ensure_ascii=False)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        if not self._inside:
            _sync(self.folder)
            self.folder.rename(self.path)
            _sync(self.path.parent)
        return self.path

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for writer in (self, self.inner):
            for column in writer.columns.values() if writer else ():
                column.out.close()
        if kind is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def require_free(path: Path) -> None:
    """Raise InputError if `path` already holds something."""
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    if path.exists():
        what = "a store" if (path / META).exists() else "something that is not a store"
        raise InputError(f"{path}: there is already {what} here\n  next: write elsewhere (--out), or remove it first")


def sha256(file: Path) -> str:
    """The SHA-256 of a file, read in blocks."""
    with open(file, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def sources_of(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of every file (of a `datasets` folder: its parts), to find out later whether it has
    changed."""
    parts = [part for f in files for part in (sorted(f.glob("*.arrow")) if f.is_dir() else [f])]
    return [{"file": str(p), "bytes": p.stat().st_size, "sha256": sha256(p)} for p in parts]


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_meta(path: Path) -> dict[str, Any]:
    file = path / META
    if not path.is_dir():
        raise DataError(f"{path}: no such store\n  next: make one with `modeledge prepare FILES --out {path}`")
    if not file.is_file():
        raise DataError(f"{path}: no {META} in it: not a store, or one whose writing was cut off; prepare it again")
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: damaged: {error}") from None
    if not isinstance(meta, dict) or not isinstance(meta.get("format"), int) or not isinstance(meta.get("rows"), int):
        raise DataError(f"{file}: damaged: no format version or row count")
    if meta["format"] > FORMAT:
        raise DataError(
            f"{file}: format {meta['format']} is newer than {FORMAT}, the newest this version reads; upgrade"
        )
    if not isinstance(meta.get("columns"), dict):
        raise DataError(f"{file}: damaged: no list of columns")
    return meta


def _read_column(path: Path, name: str, said: Any) -> np.ndarray:
    file = path / f"{name}.npy"
    if "/" in name or "\\" in name or name.startswith("."):
        raise DataError(f"{path / META}: a column cannot be named {name!r}")
    if not file.is_file():
        raise DataError(f"{file}: missing; prepare the data again")
    try:
        size, dtype, shape = said["bytes"], said["dtype"], said["shape"]
        column = np.load(file, mmap_mode="r", allow_pickle=False) if shape[0] else np.empty(shape, dtype)
        if file.stat().st_size != size or column.dtype != dtype or list(column.shape) != shape:
            raise ValueError(f"{file.stat().st_size} bytes, {META} says {size}")
    except Exception as error:  # numpy's reader of headers raises many kinds
        raise DataError(f"{file}: damaged: {error}; prepare the data again") from None
    return column


def _check_offsets(store: Store) -> None:
    """Offsets must begin at 0, end at the length of their column and never fall (checked at the ends: O(1))."""
    for name, offsets in store.columns.items():
        if not name.endswith(".offsets"):
            continue
        column = store[name.removesuffix(".offsets")]
        if len(offsets) != store.rows + 1 or offsets[0] != 0 or offsets[-1] != len(column):
            raise DataError(f"{store.path / name}.npy: damaged: it does not fit its column; prepare the data again")
