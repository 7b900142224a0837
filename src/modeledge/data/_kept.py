"""What a source computes of a whole store before its first row, kept in the store's folder so that it is computed once
and in pieces: memory stays flat at any size of the corpus.

Kept arrays lie in `rows/<name>-<key>/` beside the columns: .npy files and kept.json, which says what they were made of.
The key is a digest of the settings and of the columns of the store, so a store that was prepared anew finds nothing of
the old one. Written aside and renamed. Nothing is lost with the folder. Not here: the columns themselves (store.py)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from modeledge.data.store import Column, Store, sha256

Piece = dict[str, np.ndarray]
"""Named arrays of one dimension, to be appended to those of the pieces before."""

PIECE = 1 << 16
"""Sentences or documents a piece. What is no longer than one is computed in some milliseconds, and not kept."""

FORM = 1
"""Raised when a source computes something else from the same settings."""

META, FOLDER = "kept.json", "rows"
_VERIFIED_AT_ONCE = 256 << 20


def kept(store: Store, name: str, pieces: Callable[[], Iterator[Piece]], **settings: Any) -> Piece:
    """The concatenated pieces, by mmap where there are several.

    settings: everything besides the store that `pieces` depends on, as JSON. Where the store's folder cannot be written
    the arrays lie in a temporary folder, and are computed again next time."""
    made_of = {name: said["sha256"] for name, said in store.meta["columns"].items()}
    said = {"form": FORM, "name": name, "settings": settings, "columns": made_of}
    key = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
    folder = store.path / FOLDER / f"{name}-{key}"
    found = _open(folder, said)
    if found is not None:
        return found
    few = _few(pieces())
    if few is not None:
        return few
    with contextlib.suppress(OSError):  # a store that cannot be written, a full disk
        _write(folder, pieces(), said)
        found = _open(folder, said)
    return _aside(pieces(), said) if found is None else found


def _few(pieces: Iterator[Piece]) -> Piece | None:
    """The arrays, if there is so little of them that they need not be kept."""
    held: list[Piece] = []
    for piece in pieces:
        held.append(piece)
        if sum(len(next(iter(p.values()))) for p in held) > PIECE:
            return None
    return {name: np.concatenate([piece[name] for piece in held]) for name in held[0]}


def _open(folder: Path, said: dict[str, Any]) -> Piece | None:
    """The arrays of a folder, or None if it is absent, of something else, or damaged."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        arrays = meta.pop("arrays")
        if meta != said:
            return None
        found = {name: _array(folder / f"{name}.npy", about) for name, about in arrays.items()}
        small = sum(about["bytes"] for about in arrays.values()) <= _VERIFIED_AT_ONCE
        whole = all(not small or sha256(folder / f"{n}.npy") == about["sha256"] for n, about in arrays.items())
    except Exception:  # whatever is wrong with it, it can be computed again; numpy's reader raises many kinds
        return None
    return found if whole else None


def _array(file: Path, about: dict[str, Any]) -> np.ndarray:
    array = np.load(file, mmap_mode="r" if about["shape"][0] else None, allow_pickle=False)
    if file.stat().st_size != about["bytes"] or array.dtype != about["dtype"] or list(array.shape) != about["shape"]:
        raise ValueError(f"{file}: not what was written")
    return np.asarray(array)  # a plain array on the same pages: indexing it costs less


def _write(folder: Path, pieces: Iterator[Piece], said: dict[str, Any]) -> None:
    """Write the arrays aside and put the folder in its place, whatever stands there."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    columns: dict[str, Column] = {}
    try:
        for piece in pieces:
            for name, values in piece.items():
                if name not in columns:
                    columns[name] = Column(partial / f"{name}.npy", values.dtype)
                columns[name].append(values)
        arrays = {name: column.close() for name, column in columns.items()}
        (partial / META).write_text(json.dumps({**said, "arrays": arrays}, indent=1) + "\n", encoding="utf-8")
        if _open(folder, said) is None:  # else another process was first
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
    finally:
        for column in columns.values():
            column.out.close()
        shutil.rmtree(partial, ignore_errors=True)


def _aside(pieces: Iterator[Piece], said: dict[str, Any]) -> Piece:
    """The arrays on pages of files that are already removed, so that they go with the process."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as there:
        _write(Path(there) / "kept", pieces, said)
        found = _open(Path(there) / "kept", said)
    assert found is not None
    return found
