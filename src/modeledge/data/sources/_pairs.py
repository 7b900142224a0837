"""Making pairs: which sentences go together, a segment of another document, truncation. Vectorised over rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from modeledge.data.sources._frame import Range


class Chunks(NamedTuple):
    """Sentences begin ... end of a document, collected for a row of `target` tokens: int64 [n] each."""

    begin: Int[np.ndarray, " n"]
    end: Int[np.ndarray, " n"]
    document: Int[np.ndarray, " n"]
    target: Int[np.ndarray, " n"]


def chunk(
    bounds: Int[np.ndarray, " s"],
    first: Int[np.ndarray, " d"],
    rng: np.random.Generator,
    *,
    room: int,
    short: float,
    puts_back: bool,
) -> Chunks:
    """Walk through all documents at once and collect sentences until a row's target length is reached.

    `bounds` are the token places of sentences (and the end), `first` the first sentence of each document (and the end).
    A document's target is `room`, or with probability `short` a length drawn from 2 ... room. With `puts_back` half of
    the chunks of several sentences use only a random number of them, and the next chunk begins after these."""
    document = np.arange(len(first) - 1)
    target = np.where(rng.random(len(document)) < short, rng.integers(2, room + 1, len(document)), room)
    at, found = first[:-1].copy(), []
    while len(document):
        end = np.searchsorted(bounds, bounds[at] + target[document])
        end = np.clip(end, at + 1, first[document + 1])
        found.append(np.stack([at, end, document, target[document]]))
        u, where = rng.random((2, len(document)))
        used = at + 1 + (where * (end - at - 1)).astype(np.int64)
        at = np.where(puts_back & (u < 0.5) & (end - at > 1), used, end)
        left = at < first[document + 1]
        at, document = at[left], document[left]
    rows = np.concatenate(found, axis=1) if found else np.zeros((4, 0), np.int64)
    return Chunks(*rows[:, np.lexsort((rows[0], rows[2]))])


def other_documents(
    bounds: Int[np.ndarray, " s"],
    first: Int[np.ndarray, " d"],
    document: Int[np.ndarray, " b"],
    target: Int[np.ndarray, " b"],
    rng: np.random.Generator,
) -> Range:
    """For each row, sentences of a document that is not its own, from a random one on until `target` tokens are
    reached."""
    n = len(first) - 1
    u, where = rng.random((2, len(document)))
    other = (u * (n - 1)).astype(np.int64)
    other += other >= document
    begin = first[other] + (where * (first[other + 1] - first[other])).astype(np.int64)
    end = np.clip(np.searchsorted(bounds, bounds[begin] + target), begin + 1, first[other + 1])
    return Range(bounds[begin], bounds[end] - bounds[begin])


def truncate(a: Range, b: Range, room: int, rng: np.random.Generator) -> list[Range]:
    """Shorten pairs to `room` tokens: one token after the other leaves the longer part (B if equal), from its front or
    its back with equal probability. Source: the released BERT builder; the sizes in closed form."""
    total = np.minimum(a.size + b.size, room)
    size_a = np.minimum(a.size, np.maximum(-(-total // 2), total - b.size))
    parts = []
    for part, size in ((a, size_a), (b, total - size_a)):
        front = rng.binomial(part.size - size, 0.5)
        parts.append(Range(part.begin + front, size))
    return parts
