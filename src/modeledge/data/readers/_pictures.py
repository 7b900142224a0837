"""A picture's file as a record: its bytes, and the folder it lies in as its label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from modeledge.data.readers._record import Bad, Record, Wanted


def read_picture(file: Path, wanted: Wanted, tally: Counter[str]) -> Iterator[Record | Bad]:
    """One record; columns named in `wanted` beside the first are the name of the folder."""
    tally["read"] += file.stat().st_size
    image, *labels = wanted.columns
    yield Record({image: file.name} | dict.fromkeys(labels, file.resolve().parent.name), str(file), 1)
