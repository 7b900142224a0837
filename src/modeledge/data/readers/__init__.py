"""Readers: from files to records, one after the other, in flat memory.

.txt .jsonl .csv .tsv .tar .bin (each also .gz and .zst), .parquet, a `datasets` folder on disk, image files; folders
and globs.
A damaged file raises DataError naming it; a damaged record becomes a Bad, so that the caller may stop or go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from modeledge.core import DataError
from modeledge.data.readers._columns import read_arrow, read_parquet
from modeledge.data.readers._ids import read_ids
from modeledge.data.readers._lines import read_jsonl, read_separated, read_text
from modeledge.data.readers._pictures import read_picture
from modeledge.data.readers._record import Bad, Documents, Packed, Record, Wanted
from modeledge.data.readers._shards import read_shard

__all__ = ["Bad", "Documents", "Packed", "Record", "Wanted", "expand", "read"]

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
TABLES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv", ".tar")
TEXTS = (".txt", ".bin", *TABLES)
_PACKED = (".gz", ".zst")


def expand(files: str | Path | Sequence[str | Path], *, allowed: tuple[str, ...] = TEXTS) -> list[Path]:
    """The files that paths, folders (recursively, sorted by name) and globs (sorted) stand for.

    Raises DataError for a path that does not exist, a glob or folder without a readable file, an unknown ending."""
    given = [files] if isinstance(files, str | Path) else list(files)
    if not given:
        raise DataError("no input files were given")
    found: list[Path] = []
    for one in given:
        found += _expand(Path(one), allowed)
    return list(dict.fromkeys(found))


def ending(file: Path) -> str:
    """The ending that says what is inside: `.jsonl` for x.jsonl.gz; "arrow" for a `datasets` folder."""
    if file.is_dir():
        return "arrow"
    suffixes = [s.lower() for s in file.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _expand(path: Path, allowed: tuple[str, ...]) -> list[Path]:
    if path.is_dir():
        if _is_dataset(path):
            return [path]
        if (path / "dataset_dict.json").is_file():
            if (path / "train").is_dir():
                return [path / "train"]
            splits = ", ".join(sorted(p.name for p in path.iterdir() if p.is_dir()))
            raise DataError(f"{path}: a datasets folder without a split `train`; name one of its splits: {splits}")
        inside = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
        found = [p for p in inside if ending(p) in allowed]
        if not found:
            raise DataError(f"{path}: no file in this folder can be read\n  known endings: {_endings(allowed)}")
        return found
    if path.is_file():
        if ending(path) not in allowed:
            raise DataError(f"{path}: cannot read files that end in {''.join(path.suffixes[-2:]) or 'nothing'!r}"
                            f"\n  known endings: {_endings(allowed)}")  # fmt: skip
        return [path]
    if any(c in str(path) for c in "*?["):
        root = Path(path.anchor) if path.anchor else Path()
        pattern = str(path.relative_to(path.anchor)) if path.anchor else str(path)
        found = sorted(p for p in root.glob(pattern) if p.is_file() and ending(p) in allowed)
        if not found:
            raise DataError(f"{path}: no file matches")
        return found
    raise DataError(_missing(path))


def _missing(path: Path) -> str:
    from modeledge.core import nearest

    folder = path.parent
    if not folder.is_dir():
        return f"{path}: no such file; there is no folder {folder} either"
    close = nearest(path.name, [p.name for p in folder.iterdir()])
    return f"{path}: no such file" + (f"; did you mean {str(folder / close)!r}?" if close else "")


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__")) for part in path.parts)


def _is_dataset(path: Path) -> bool:
    return (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def _endings(allowed: tuple[str, ...]) -> str:
    return " ".join(allowed) + (", each also .gz or .zst, except .parquet" if allowed != IMAGES else "")


def read(file: Path, wanted: Wanted, tally: Counter[str]) -> Iterator[Record | Bad]:
    """The records of one file. `tally` counts what passes by: bytes, empty lines, documents cut up.

    Raises DataError naming the file if it is empty, binary, truncated, or lacks a wanted column."""
    readers: dict[str, Callable[..., Iterator[Any]]] = {
        ".txt": read_text,
        ".csv": read_separated,
        ".tsv": read_separated,
        ".parquet": read_parquet,
        ".tar": read_shard,
        ".bin": read_ids,
        "arrow": read_arrow,
    }
    readers |= dict.fromkeys(IMAGES, read_picture)
    return readers.get(ending(file), read_jsonl)(file, wanted, tally)
