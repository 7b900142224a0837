"""Bytes of a file in blocks, unpacked with a bound on what a small file may grow to; and its lines with their
places."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from modeledge.core import DataError
from modeledge.data.readers._record import MOST_LINE

RATIO = 1000
"""Unpacked over packed bytes above which a file is refused."""
MOST_UNPACKED = 1 << 40
_SLACK = 16 << 20  # a small honest file may pack better than RATIO
_BLOCK = 1 << 18
_MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip without the ending .gz",
    b"\x28\xb5\x2f\xfd": "zstd without the ending .zst",
    b"PAR1": "parquet without the ending .parquet",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x7fELF": "a program",
    b"BZh": "bzip2, which is not read",
    b"\xfd7zXZ": "xz, which is not read",
}


class Line(NamedTuple):
    """number from 1, place of its first byte, content without the line end; None where it is longer than allowed."""

    number: int
    offset: int
    content: bytes | None


def blocks(file: Path, tally: Counter[str]) -> Iterator[bytes]:
    """The content of a file, .gz and .zst unpacked. Counts the bytes read in tally["read"].

    Raises DataError naming the file: unreadable, truncated, corrupt, or growing beyond RATIO."""
    unpack = {".gz": _gzip, ".zst": _zstd}.get(file.suffix.lower(), _plain)
    held = 0
    try:
        with open(file, "rb") as source:
            for block in unpack(source, file):
                place = source.tell()
                tally["read"] += place - held
                held = place
                yield block
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None


def lines(file: Path, tally: Counter[str], *, split: int | None = None) -> Iterator[Line]:
    """The lines of a file (ended by LF or CRLF only), a byte order mark left out.

    A line of more than MOST_LINE bytes has no content, or comes in pieces of about `split` bytes under one number.
    Raises DataError if the file is empty or not text."""
    rest, offset, begin, number, skipping, size = b"", 0, 0, 1, False, 0
    most = split or MOST_LINE
    for block in blocks(file, tally):
        if not size:
            _require_text(file, block)
            offset = 3 if block.startswith(b"\xef\xbb\xbf") else 0
            rest, block = b"", block[offset:]
        size += len(block) + 1
        parts = (rest + block).split(b"\n")
        rest = parts.pop()
        for part in parts:
            if skipping:
                yield Line(number, begin, None)
            else:
                yield from _cut(number, offset, part.removesuffix(b"\r"), most, split)
            skipping, number, offset = False, number + 1, offset + len(part) + 1
        while len(rest) > most:
            if split:
                at = _boundary(rest, split)
                yield Line(number, offset, rest[:at])
                rest, offset = rest[at:], offset + at
            else:
                begin = begin if skipping else offset
                skipping, offset, rest = True, offset + len(rest), b""
    if not size:
        raise DataError(f"{file}: the file is empty")
    if skipping:
        yield Line(number, begin, None)
    elif rest:
        yield from _cut(number, offset, rest.removesuffix(b"\r"), most, split)


def _cut(number: int, offset: int, part: bytes, most: int, split: int | None) -> Iterator[Line]:
    while split and len(part) > most:
        at = _boundary(part, split)
        yield Line(number, offset, part[:at])
        part, offset = part[at:], offset + at
    yield Line(number, offset, part if len(part) <= most else None)


def _boundary(data: bytes, size: int) -> int:
    """Where to cut near `size`: before the last space, else between two characters."""
    at = data.rfind(b" ", size // 2, size)
    if at > 0:
        return at
    at = size
    while at > size - 4 and data[at] & 0xC0 == 0x80:
        at -= 1
    return at


def _require_text(file: Path, head: bytes) -> None:
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"{file}: not a text file: it looks like {what}")
    head = head[:4096]
    odd = sum(b < 9 or 13 < b < 27 or 27 < b < 32 for b in head)
    if odd > len(head) // 10:
        hint = "; UTF-16? convert it to UTF-8" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise DataError(f"{file}: not a text file: {odd} of its first {len(head)} bytes are control characters{hint}")


def _plain(source: BinaryIO, file: Path) -> Iterator[bytes]:
    while block := source.read(_BLOCK):
        yield block


def _gzip(source: BinaryIO, file: Path) -> Iterator[bytes]:
    given = made = 0
    engine, fed = zlib.decompressobj(31), b""
    try:
        while True:
            if not fed:
                fed = source.read(_BLOCK)
                given += len(fed)
                if not fed:
                    break
            if engine.eof:  # the next member of a file of several
                engine = zlib.decompressobj(31)
            block = engine.decompress(fed, _BLOCK * 4)
            fed = engine.unused_data.lstrip(b"\0") if engine.eof else engine.unconsumed_tail
            made += len(block)
            _bound(file, given - len(fed), made)
            if block:
                yield block
    except zlib.error as error:
        raise DataError(f"{file}: corrupt gzip: {error}") from None
    if given and not engine.eof:
        raise DataError(f"{file}: truncated gzip: it ends in the middle")


def _zstd(source: BinaryIO, file: Path) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise DataError(f"{file}: reading .zst needs zstandard\n  next: pip install 'modeledge[data]'") from None
    given = made = 0
    maker = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    engine, begun = maker.decompressobj(), False
    try:
        while fed := source.read(1 << 10):  # small, because one byte may stand for very many
            given += len(fed)
            while fed:
                if engine.eof:
                    engine = maker.decompressobj()
                block = engine.decompress(fed)
                begun = True
                made += len(block)
                _bound(file, given, made)
                fed = engine.unused_data if engine.eof else b""
                if block:
                    yield block
    except zstandard.ZstdError as error:
        raise DataError(f"{file}: corrupt zstd: {error}") from None
    if begun and not engine.eof:
        raise DataError(f"{file}: truncated zstd: it ends in the middle")


def _bound(file: Path, given: int, made: int) -> None:
    if made > min(max(given * RATIO, _SLACK), MOST_UNPACKED):
        raise DataError(
            f"{file}: {given} packed bytes have grown to {made}, over {RATIO} to 1: refused as a decompression bomb"
        )
