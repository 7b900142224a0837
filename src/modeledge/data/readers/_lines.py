"""Records from files of lines: plain text, JSON lines, separated values."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from modeledge.core import DataError
from modeledge.data.readers._bytes import Line, lines
from modeledge.data.readers._record import MOST_LINE, Bad, Record, Wanted, check, require_columns

_PIECE = 1 << 20
_MOST_DOCUMENT = 4 << 20
"""Characters of a .txt document beyond which it is cut into several at a line end."""


def decode(line: Line, file: str) -> str | Bad:
    """The text of a line, or what is wrong with its bytes."""
    if line.content is None:
        return Bad(file, line.number, line.offset, f"the line is longer than {MOST_LINE >> 20} MiB")
    try:
        text = line.content.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = line.content[error.start]
        return Bad(file, line.number, line.offset + error.start, f"not UTF-8: byte 0x{byte:02x} cannot stand here")
    if "\0" in text:
        place = line.content.index(b"\0")
        return Bad(file, line.number, line.offset + place, "a NUL byte")
    return text


def read_text(file: Path, wanted: Wanted, tally: Counter[str]) -> Iterator[Record | Bad]:
    """Documents of a .txt file: the whole file, what stands between blank lines, or each line."""
    name, held, size, begin = str(file), [], 0, None
    column = next(iter(wanted.columns))

    def document() -> Record:
        return Record({column: "\n".join(held)}, name, begin.number, begin.offset)

    for line in lines(file, tally, split=_PIECE):
        text = decode(line, name)
        if isinstance(text, Bad):
            yield text
            continue
        blank = not text.strip()
        tally["empty_lines"] += blank
        full = size + len(text) > _MOST_DOCUMENT
        tally["documents_cut"] += full and bool(held)
        if held and (full or wanted.documents == "line" or (blank and wanted.documents == "blank")):
            yield document()
            held, size, begin = [], 0, None
        if blank and not held:
            continue
        begin = begin or line
        held.append(text)
        size += len(text) + 1
    if held:
        yield document()


def read_jsonl(file: Path, wanted: Wanted, tally: Counter[str]) -> Iterator[Record | Bad]:
    """One JSON object a line; empty lines are counted and passed over."""
    name = str(file)
    for line in lines(file, tally):
        text = decode(line, name)
        if isinstance(text, Bad):
            yield text
        elif not text.strip():
            tally["empty_lines"] += 1
        elif line.number == 1 and text.lstrip().startswith("["):
            raise DataError(f"{file}: a JSON array; expected JSON lines, one object on each line")
        else:
            try:
                value = json.loads(text)
            except json.JSONDecodeError as error:
                place = line.offset + len(text[: error.pos].encode())
                yield Bad(name, line.number, place, f"malformed JSON: {error.msg}")
            except RecursionError:
                yield Bad(name, line.number, line.offset, "malformed JSON: nested too deeply")
            else:
                yield check(value, wanted, name, line.number, line.offset)


def read_separated(file: Path, wanted: Wanted, tally: Counter[str]) -> Iterator[Record | Bad]:
    """Rows of comma- or tab-separated values under a header; every value is text, empty ones count as absent."""
    name = str(file)
    bad: list[Bad] = []

    def texts() -> Iterator[str]:
        for line in lines(file, tally):
            text = decode(line, name)
            if isinstance(text, Bad):
                bad.append(text)
                yield "\n"
            else:
                tally["empty_lines"] += not text.strip()
                yield text + "\n"

    tabs = ".tsv" in [s.lower() for s in file.suffixes]
    csv.field_size_limit(MOST_LINE)
    rows = csv.reader(texts(), delimiter="\t" if tabs else ",", quoting=csv.QUOTE_MINIMAL, strict=not tabs)
    header, at = None, 0
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Bad(name, rows.line_num, -1, f"malformed row: {error}")
            row = []
        yield from bad
        bad.clear()
        if row is None:
            return
        at = rows.line_num
        if not row:
            continue
        if header is None:
            if wanted.bare and len(row) == len(wanted.columns) and not wanted.columns.keys() & set(row):
                header = list(wanted.columns)
            else:
                header = row
                require_columns(name, header, wanted)
                continue
        if len(row) == len(header):
            found = {k: v if v != "" else None for k, v in zip(header, row, strict=True)}
            yield check(found, wanted, name, at, -1)
        else:
            yield Bad(name, at, -1, f"{len(row)} values under a header of {len(header)}")
