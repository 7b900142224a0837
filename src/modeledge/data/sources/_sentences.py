"""Where sentences begin and end, and how whole ones are packed into rows: in pieces, and kept (`_kept`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from modeledge.data import _kept
from modeledge.data._kept import Piece, kept
from modeledge.data.store import Store


class Sentences(NamedTuple):
    """bounds: begin of every sentence and, last, the end of the tokens; first: number of the first sentence of each
    document, and how many sentences there are."""

    bounds: Int[np.ndarray, " s"]
    first: Int[np.ndarray, " d"]


def sentences(store: Store) -> Sentences:
    """The sentences of a store and those its documents begin with."""
    begins, offsets, size = np.asarray(store["sentences"]), np.asarray(store.offsets("tokens")), _kept.PIECE

    def pieces() -> Iterator[Piece]:
        # a piece of either by turns; the last of each has the end
        for at in range(0, max(len(begins), len(offsets)), size):
            bounds = begins[at : at + size]
            if at <= max(len(begins) - 1, 0) < at + size:
                bounds = np.append(bounds, len(store["tokens"]))
            yield {"bounds": bounds, "first": np.searchsorted(begins, offsets[at : at + size])}

    return Sentences(**kept(store, "sentences", pieces))


def sentence_bounds(store: Store, *, most: int | None = None) -> Int[np.ndarray, " n"]:
    """Begin of every sentence and, last, the end of the tokens; a sentence of more than `most` tokens is cut up."""
    bounds = np.append(np.asarray(store["sentences"], np.int64), len(store["tokens"]))
    return bounds if most is None else split(bounds, most)


def split(bounds: Int[np.ndarray, " s"], most: int) -> Int[np.ndarray, " n"]:
    """The bounds of sentences of which those of more than `most` tokens are cut up."""
    pieces = -(-np.diff(bounds) // most)
    if (pieces <= 1).all():
        return bounds
    first = np.repeat(bounds[:-1], pieces)
    nth = np.arange(len(first)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return np.append(first + nth * most, bounds[-1])


def pack(
    ends: Int[np.ndarray, " n"], begins: Int[np.ndarray, " n"], room: int, stops: np.ndarray | None = None
) -> Int[np.ndarray, " r"]:
    """Greedy packing of consecutive units [begins, ends) into rows of at most `room` places: the first unit of each
    row.

    A row does not go past the unit in `stops` (the first unit of the next document) of its first unit."""
    after = np.searchsorted(ends, begins + room, side="right")  # the first unit that no longer fits
    if stops is not None:
        after = np.minimum(after, stops)
    then = np.maximum(after, np.arange(len(begins)) + 1).tolist()
    rows, at, n = [], 0, len(begins)
    while at < n:
        rows.append(at)
        at = then[at]
    return np.array(rows, np.int64)


def packed(store: Store, room: int, *, crosses: bool) -> Piece:
    """Whole sentences packed into rows of at most `room` places of the stream (_stream.py): where each begins, how long
    it is, and the document it begins in.

    crosses: a row goes on into the next document, if that is of the same language."""
    begins, offsets, size = np.asarray(store["sentences"]), np.asarray(store.offsets("tokens")), _kept.PIECE
    run = languages(store) if crosses else None

    def pieces() -> Iterator[Piece]:
        left = np.zeros((3, 0), np.int64)  # begins, ends and documents of the units of a row that may go on
        for at in range(0, max(len(begins), 1), size):
            last = at + size >= len(begins)
            end = len(store["tokens"]) if last else begins[at + size]
            bounds = split(np.append(begins[at : at + size], end), room)
            document = np.searchsorted(offsets, bounds[:-1], side="right") - 1
            units = np.concatenate([left, [bounds[:-1] + document, bounds[1:] + document, document]], axis=1)
            key = run if run is None else run[units[2]]
            key = key if crosses else units[2]
            stops = None if key is None else np.searchsorted(key, key, side="right")
            rows = pack(units[1], units[0], room, stops)
            ends = units[1, np.append(rows[1:], units.shape[1]) - 1]
            done = len(rows) if last else len(rows) - 1
            left = units[:, rows[-1] :] if len(rows) else left
            rows, ends = rows[:done], ends[:done]
            yield {"begins": units[0, rows], "sizes": ends - units[0, rows], "document": units[2, rows]}

    return kept(store, "packed", pieces, room=room, crosses=crosses, languages=run is not None)


def languages(store: Store) -> Int[np.ndarray, " d"] | None:
    """For each document the number of its run of documents of one language; None where the store knows none."""
    if "lang" not in store:
        return None
    return np.cumsum(np.diff(np.asarray(store["lang"], np.int64), prepend=0) != 0)
