"""Records from webdataset shards: tar files in which neighbouring members with one name make a record.

`0007.jpg 0007.txt 0007.json` is one record: an ending names a column, the keys of a .json object are columns too."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from modeledge.core import DataError
from modeledge.data.readers._bytes import blocks
from modeledge.data.readers._record import MOST_LINE, Bad, Record, Wanted, check

_PICTURES = ("png", "jpg", "jpeg", "webp", "bmp", "gif")
_ALIASES = {"txt": "text", "cls": "label", **dict.fromkeys(_PICTURES, "image")}
"""Endings that stand for a column of another name too."""


class _Member(NamedTuple):
    """A file of a shard: the name it shares with its record, its ending, where its bytes begin, and the bytes."""

    key: str
    ending: str
    offset: int
    content: bytes


def read_shard(file: Path, wanted: Wanted, tally: Counter[str]) -> Iterator[Record | Bad]:
    """The records of a tar file, read once from front to back; records are numbered from 1.

    Raises DataError naming the file if it is no tar file or ends in the middle."""
    number = 0
    for number, (_, group) in enumerate(groupby(_members(file, tally), lambda m: m.key), start=1):
        members = list(group)
        row: dict[str, Any] = {}
        try:
            for member in members:
                row = _values(member) | row
        except ValueError as error:
            yield Bad(str(file), number, members[0].offset, f"{members[0].key}: {error}")
        else:
            yield check(row, wanted, str(file), number, members[0].offset)
    if not number:
        raise DataError(f"{file}: a tar file without a record in it")


def _values(member: _Member) -> dict[str, Any]:
    """The columns a member gives. Raises ValueError (UnicodeDecodeError among them) saying what is wrong."""
    ending = member.ending
    if len(member.content) > MOST_LINE:
        raise ValueError(f".{ending} is longer than {MOST_LINE >> 20} MiB")
    last = ending.rsplit(".", 1)[-1]
    if last == "json":
        try:
            found = json.loads(member.content)
        except RecursionError:
            raise ValueError(f".{ending}: malformed JSON: nested too deeply") from None
        return found if isinstance(found, dict) else {ending: found}
    value: Any = member.content if last in _PICTURES else member.content.decode("utf-8")
    if last == "cls" and value.strip().lstrip("-").isdigit():
        value = int(value)
    return {ending: value} | ({_ALIASES[last]: value} if last in _ALIASES else {})


def _members(file: Path, tally: Counter[str]) -> Iterator[_Member]:
    """The plain files in a shard; nothing is written to disk, links and folders are passed over."""
    source = io.BufferedReader(_Blocks(file, tally))
    if not source.peek(1):
        raise DataError(f"{file}: the file is empty")
    try:
        with tarfile.open(fileobj=source, mode="r|") as shard:
            for info in shard:
                name = info.name.rsplit("/", 1)[-1]
                if not info.isfile() or name.startswith(".") or "." not in name:
                    continue
                opened = shard.extractfile(info)
                content = opened.read(min(info.size, MOST_LINE + 1)) if opened else b""
                if len(content) < min(info.size, MOST_LINE + 1):
                    raise tarfile.ReadError(f"{info.name} ends in the middle")
                stem, ending = name.split(".", 1)
                yield _Member(info.name.removesuffix(name) + stem, ending.lower(), info.offset_data, content)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{file}: damaged tar file: {error}") from None


class _Blocks(io.RawIOBase):
    """The unpacked blocks of a file as something to read from."""

    def __init__(self, file: Path, tally: Counter[str]):
        self.source, self.rest = blocks(file, tally), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.rest:
            self.rest = next(self.source, b"")
        size = min(len(buffer), len(self.rest))
        buffer[:size], self.rest = self.rest[:size], self.rest[size:]
        return size
