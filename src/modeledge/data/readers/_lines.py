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
    name, held, size, begin, last = str(file), [], 0, None, 0
    column = next(iter(wanted.columns))

    def document() -> Record:
        return Record({column: "".join(held)}, name, begin.number, begin.offset)

    for line in lines(file, tally, split=_PIECE):
        text = decode(line, name)
        if isinstance(text, Bad):
            yield text
            continue
        blank = not text.strip()
        tally["empty_lines"] += blank
        full = size + len(text) > _MOST_DOCUMENT
        tally["documents_cut"] += full and bool(held)
        ends = wanted.documents == "line" and line.number > last or wanted.documents == "blank" and blank
        if held and (full or ends):
            yield document()
            held, size, begin = [], 0, None
        if blank and not held:
            continue
        begin = begin or line
        held += ["\n", text] if held and line.number > last else [text]  # a long line comes in pieces
        last = line.number
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
            except ValueError:  # Python's bound on the digits of an integer
                yield Bad(name, line.number, line.offset, "malformed JSON: a number of too many digits")
            else:
                yield check(value, wanted, name, line.number, line.offset)


def read_separated(file: Path, wanted: Wanted, tally: Counter[str]) -> Iterator[Record | Bad]:
    """Rows of comma- or tab-separated values under a header; every value is text, an empty one counts as absent where
    the column is not one of text alone."""
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

    csv.field_size_limit(MOST_LINE)
    rows = _tab_rows if ".tsv" in [s.lower() for s in file.suffixes] else _comma_rows
    header = None
    for at, row in rows(texts()):
        yield from bad
        bad.clear()
        if isinstance(row, str):
            yield Bad(name, at, -1, f"malformed row: {row}")
        elif not row:
            continue
        elif (
            header is None and wanted.bare and len(row) == len(wanted.columns) and not wanted.columns.keys() & set(row)
        ):
            header = list(wanted.columns)
            yield _row(header, row, wanted, name, at)
        elif header is None:
            header = row
            require_columns(name, header, wanted)
        else:
            yield _row(header, row, wanted, name, at)
    yield from bad


def _row(header: list[str], row: list[str], wanted: Wanted, file: str, at: int) -> Record | Bad:
    """The record of a row, or what is wrong with it."""
    if len(row) != len(header):
        return Bad(file, at, -1, f"{len(row)} values under a header of {len(header)}")
    texts = {name for name, types in wanted.columns.items() if types == (str,)}
    found = {k: v if v or k in texts else None for k, v in zip(header, row, strict=True)}
    return check(found, wanted, file, at, -1)


def _comma_rows(texts: Iterator[str]) -> Iterator[tuple[int, list[str] | str]]:
    """Rows, or what is wrong with one, each with the number of the line it ends on."""
    rows = csv.reader(texts, strict=True)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield rows.line_num, str(error)
        else:
            yield rows.line_num, row


def _tab_rows(texts: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """A row a line, with its number. Many such files quote nothing, so quotation marks hold a value together only if
    the row then has as many values as the first."""
    width = 0
    for number, text in enumerate(texts, start=1):
        line = text.removesuffix("\n")
        row = line.split("\t") if line else []
        if '"' in line:
            try:
                quoted = next(csv.reader([line], delimiter="\t", strict=True))
                row = quoted if len(quoted) == width or not width else row
            except csv.Error:
                pass
        width = width or len(row)
        yield number, row
