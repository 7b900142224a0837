"""Spans of characters that records bring along - what a tagger found, names, whatever its owner calls important - and
the tokens they lie on.

Not here: what the user lists in files (_gazetteer.py), what is done with the marks (objectives)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from modeledge.data._job import Job
from modeledge.data.readers import Bad, Record


def marked_records(job: Job, *, text: str, marks: str) -> Iterator[Record]:
    """The records of a job with their marks as an array [n, 2]; one whose marks are wrong is a bad record."""
    for record in job.records():
        given = record.value.get(marks)
        spans = "a file of text alone has none" if given is None else spans_of(given, len(record.value[text]))
        if isinstance(spans, str):
            job.reject(Bad(record.file, record.line, record.offset, f"field {marks!r}: {spans}"))
        else:
            yield record._replace(value=record.value | {marks: spans})


def spans_of(marks: Sequence[Any], size: int) -> Int[np.ndarray, "n 2"] | str:
    """The spans of a text of `size` characters; or what is wrong with them."""
    for pair in marks:
        whole = isinstance(pair, list | tuple) and len(pair) == 2 and all(type(place) is int for place in pair)
        if not whole or not 0 <= pair[0] < pair[1] <= size:
            return f"expected pairs [begin, end] of characters, 0 <= begin < end <= {size}, found {str(pair)[:40]}"
    return np.array(marks, np.int64).reshape(-1, 2)


def lie_on(
    texts: Sequence[str],
    marks: Sequence[Int[np.ndarray, "n 2"]],
    pieces: Sequence[Sequence[str]],
    spans: Iterable[Int[np.ndarray, "t 2"]],
) -> Bool[np.ndarray, " t"]:
    """Which tokens hold a marked character.

    pieces: of each text, end to end, what was encoded of it; spans: of each piece's tokens, in its characters."""
    characters = [np.zeros(0, bool)]
    for text, spans_there, parts in zip(texts, marks, pieces, strict=True):
        steps = np.zeros(len(text) + 1, np.int64)
        np.add.at(steps, spans_there[:, 0], 1)
        np.add.at(steps, spans_there[:, 1], -1)
        first = text.find(parts[0]) if parts else 0
        characters.append(np.cumsum(steps)[first : first + sum(map(len, parts))] > 0)
    before = np.append(0, np.cumsum(np.concatenate(characters)))
    sizes = np.array([len(part) for parts in pieces for part in parts], np.int64)
    first = np.cumsum(sizes) - sizes
    places = [np.zeros((0, 2), np.int64), *(there + at for there, at in zip(spans, first, strict=True))]
    begin, end = np.concatenate(places).T
    return before[end] > before[begin]
