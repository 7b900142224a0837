"""Records from packed bins: the ids of a corpus one after the other, as GPT-2's reimplementations write them.

Plain little-endian integers of two bytes (of four where the vocabulary needs them), an end-of-text id between
documents; or the same behind the 1 KiB header of a "20240520" shard. The ids are turned back to text by the tokenizer
they were made with, so that sentences and words can be told; a byte-level tokenizer gives the same ids again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from modeledge.core import DataError
from modeledge.data.readers._bytes import blocks
from modeledge.data.readers._record import Bad, Record, Wanted, require_columns

_MOST = 1 << 20
"""Ids of a document beyond which it is cut into several."""
_HEADER = 1024
_MAGIC = np.array([20240520, 1], "<i4").tobytes()


def read_ids(file: Path, wanted: Wanted, tally: Counter[str]) -> Iterator[Record | Bad]:
    """The documents of a packed bin, numbered from 1; empty ones are passed over, long ones cut.

    Raises DataError naming the file: no tokenizer to read it with, an id it does not have, a length that does not
    fit."""
    if wanted.packed is None:
        raise DataError(
            f"{file}: packed ids need the tokenizer they were made with\n  next: name its folder with --tokenizer"
        )
    column, packed, number = next(iter(wanted.columns)), wanted.packed, 0
    require_columns(str(file), [column], wanted)
    held: list[np.ndarray] = []
    for ids in _ids(file, packed.vocab, tally):
        *ended, rest = np.split(ids, np.flatnonzero(ids == packed.end) + 1)
        for part in ended:
            held.append(part[:-1])
            if sum(map(len, held)):
                number += 1
                yield Record({column: packed.decode(np.concatenate(held))}, str(file), number)
            held = []
        held.append(rest)
        if sum(map(len, held)) > _MOST:
            number += 1
            tally["documents_cut"] += 1
            yield Record({column: packed.decode(np.concatenate(held))}, str(file), number)
            held = []
    if sum(map(len, held)):
        yield Record({column: packed.decode(np.concatenate(held))}, str(file), number + 1)


def _ids(file: Path, vocab: int, tally: Counter[str]) -> Iterator[np.ndarray]:
    """The ids in pieces, each looked at."""
    wide, rest, begun, place = "<u2" if vocab <= 1 << 16 else "<u4", b"", False, 0
    size = np.dtype(wide).itemsize
    for block in blocks(file, tally):
        rest += block
        if not begun and len(rest) >= _HEADER and rest.startswith(_MAGIC):
            rest, place = rest[_HEADER:], _HEADER
        begun = True
        whole = len(rest) - len(rest) % size
        ids = np.frombuffer(rest[:whole], wide)
        if len(ids) and ids.max() >= vocab:
            nth = int(np.argmax(ids >= vocab))
            raise DataError(
                f"{file}: id {ids[nth]} at byte {place + nth * size}, but the tokenizer has {vocab:,} ids\n"
                "  next: name the tokenizer the file was made with"
            )
        yield ids
        rest, place = rest[whole:], place + whole
    if not begun:
        raise DataError(f"{file}: the file is empty")
    if rest:
        raise DataError(f"{file}: truncated: {len(rest)} bytes left after ids of {size}")
