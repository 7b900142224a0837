"""What readers give and what they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from modeledge.core import DataError, nearest, unknown

Documents = Literal["file", "blank", "line"]
MOST_LINE = 16 << 20
"""A line of more bytes is refused; in .txt it is cut up."""


class Record(NamedTuple):
    """One record: its columns, and where it stands (line or row, counted from 1; byte in the unpacked file, or -1)."""

    value: dict[str, Any]
    file: str
    line: int
    offset: int = -1


class Bad(NamedTuple):
    """A record that cannot be used, and why."""

    file: str
    line: int
    offset: int
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}"
        return f"{place}: {self.reason}" + (f" (byte {self.offset})" if self.offset >= 0 else "")


class Packed(NamedTuple):
    """What it takes to read packed ids: their text, the id that ends a document, how many ids there are."""

    decode: Callable[[Any], str]
    end: int
    vocab: int


class Wanted(NamedTuple):
    """columns: name -> allowed Python types; optional: may be absent or null; documents: what a document of .txt is;
    bare: separated values may come without a header, their columns then stand in the order wanted; packed: how to read
    files of ids."""

    columns: dict[str, tuple[type, ...]]
    optional: tuple[str, ...] = ()
    documents: Documents = "file"
    bare: bool = False
    packed: Packed | None = None


def check(value: Any, wanted: Wanted, file: str, line: int, offset: int) -> Record | Bad:
    """The record of a row if it has what is wanted, in the types that are wanted."""
    if not isinstance(value, dict):
        return Bad(file, line, offset, f"expected an object with named fields, found {_type(value)}")
    row = {}
    for name, types in wanted.columns.items():
        found = value.get(name)
        if found is None and name in wanted.optional:
            row[name] = None
            continue
        if found is None:
            return Bad(file, line, offset, f"field {name!r} {_absent(name, value)}")
        if not isinstance(found, types) or (isinstance(found, bool) and bool not in types):
            expected = " or ".join(dict.fromkeys(_NAMES.get(t, t.__name__) for t in types))
            return Bad(file, line, offset, f"field {name!r}: expected {expected}, found {_type(found)}")
        if isinstance(found, str) and "\0" in found:
            return Bad(file, line, offset, f"field {name!r} holds a NUL character")
        row[name] = found
    return Record(row, file, line, offset)


def require_columns(file: str, names: list[str], wanted: Wanted) -> None:
    """Raise DataError, naming the nearest, if a column of a table does not exist."""
    for name in wanted.columns:
        if name not in names and name not in wanted.optional:
            raise DataError(unknown(file, "column", name, names))


_NAMES = {
    str: "text",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    bool: "true or false",
    bytes: "bytes",
}


def _type(value: Any) -> str:
    return _NAMES.get(type(value), type(value).__name__)


def _absent(name: str, value: dict[str, Any]) -> str:
    """Why there is nothing: null, or another name (with the nearest there is)."""
    if name in value:
        return "is null"
    there = [str(k) for k in list(value)[:8]]
    close = nearest(name, there)
    return f"is missing; it has {', '.join(there) or 'none'}" + (f" (did you mean {close!r}?)" if close else "")
