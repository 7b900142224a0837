"""Documents of one language laid side by side, so that rows which run on into the next document hold one language and
are full all the same.

Not here: which language a document is of (_text.py), rows that end where the language changes (sources/_sentences.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from modeledge.data.store import Column, StoreWriter

PIECE = 1 << 22
"""Tokens that are moved at a time."""


def sort_by_language(writer: StoreWriter, per_token: Sequence[str]) -> None:
    """Put the documents of a text store that is being written into the order of their languages, each language's as
    they came. The columns `per_token` move along; nothing is written where the order is already so."""
    if "lang" not in writer.columns:
        return
    lang = writer.columns["lang"].written()
    order = np.argsort(lang, kind="stable")
    if (order[1:] > order[:-1]).all():
        return
    offsets = writer.columns["tokens.offsets"].written()
    sizes = np.diff(offsets)
    moved = np.concatenate([[0], np.cumsum(sizes[order])])
    begins = writer.columns["sentences"].written()
    shift = np.empty(len(order), np.int64)  # by how much a document's tokens move
    shift[order] = moved[:-1] - offsets[:-1][order]
    for name in per_token:
        column = writer.columns[name].written()
        _replace(writer, name, (column[at] for at in _pieces(offsets, order)))
    first = np.searchsorted(begins, offsets)  # sentence of each document

    def sentences() -> Iterator[np.ndarray]:
        for at in _pieces(first, order):
            yield begins[at] + shift[np.searchsorted(first, at, side="right") - 1]

    _replace(writer, "sentences", sentences())
    _replace(writer, "tokens.offsets", iter([moved]))
    _replace(writer, "lang", iter([lang[order]]))


def _pieces(offsets: Int[np.ndarray, " d"], order: Int[np.ndarray, " n"]) -> Iterator[Int[np.ndarray, " p"]]:
    """Where the tokens (or sentences) of the documents `order` stand, so many whole documents at a time."""
    sizes = np.diff(offsets)[order]
    ends = np.cumsum(sizes)
    at = 0
    while at < len(order):
        done = ends[at - 1] if at else 0
        to = max(int(np.searchsorted(ends, done + PIECE, side="right")), at + 1)
        part = sizes[at:to]
        within = np.arange(part.sum()) - np.repeat(np.cumsum(part) - part, part)
        yield np.repeat(offsets[:-1][order[at:to]], part) + within
        at = to


def _replace(writer: StoreWriter, name: str, pieces: Iterator[np.ndarray]) -> None:
    """Write a column anew beside itself and put it into its place."""
    old = writer.columns[name]
    new = Column(old.file.with_suffix(".sorted"), old.dtype, old.shape)
    try:
        for piece in pieces:
            new.append(piece)
    finally:
        new.out.flush()
        old.out.close()
    os.replace(new.file, old.file)
    new.file = old.file
    writer.columns[name] = new
