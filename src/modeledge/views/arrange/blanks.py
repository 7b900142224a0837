"""Text with blanks, and what was in them written behind it, one blank after the other in a random order.

Source: GLM, arXiv:2103.10360 §2.1 and figure 2: each run of hidden tokens becomes one mask (part A); part B holds the
runs, each behind a start token, and asks for the run and an end token. A place of part B has the position of its mask,
and a second position that counts inside the run; so nothing tells how long a run is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from modeledge.core import IGNORE
from modeledge.views.corrupt.spans import span_starts


class Blanked(NamedTuple):
    """Part A and part B of each row, padded at the end.

    prefix     tokens of part A
    positions  of a token in part A; in part B that of its mask
    inner      0 in part A; in part B 1, 2, ... within the run
    source     the place of the row a token comes from (start tokens: from the run's first token)"""

    ids: Int[np.ndarray, "b u"]
    labels: Int[np.ndarray, "b u"]
    positions: Int[np.ndarray, "b u"]
    inner: Int[np.ndarray, "b u"]
    source: Int[np.ndarray, "b u"]
    valid: Bool[np.ndarray, "b u"]
    prefix: Int[np.ndarray, " b"]


def append_blanks(
    ids: Int[np.ndarray, "b t"],
    hidden: Bool[np.ndarray, "b t"],
    real: Bool[np.ndarray, "b t"],
    order: np.random.Generator | None,
    *,
    mask: int,
    start: int,
    end: int,
    pad: int,
    multiple: int = 8,
) -> Blanked:
    """Runs of `hidden` tokens taken out and appended, in an order drawn from `order` (None: as they stand)."""
    b, t = ids.shape
    first = span_starts(hidden)
    shown = (~hidden | first) & real
    at = np.cumsum(shown, axis=1) - 1  # of a hidden token: the place of its mask in part A
    prefix = shown.sum(axis=1)
    span = np.maximum(np.cumsum(first, axis=1) - 1, 0)
    begin = np.maximum.accumulate(np.where(first, np.arange(t), 0), axis=1)
    inside = np.arange(t) - begin  # of a hidden token: its number in the run
    offset = _offsets(span, hidden, order)
    after = prefix[:, None] + offset  # where the run's start token stands
    length = prefix + (hidden.sum(axis=1) + first.sum(axis=1))
    width = -(-max(int(length.max(initial=1)), 1) // multiple) * multiple
    valid = np.arange(width) < length[:, None]
    out = Blanked(
        ids=np.full((b, width), pad, ids.dtype),
        labels=np.full((b, width), IGNORE, np.int64),
        positions=np.zeros((b, width), np.int64),
        inner=np.zeros((b, width), np.int64),
        source=np.zeros((b, width), np.int64),
        valid=valid,
        prefix=prefix.astype(np.int64),
    )
    row = np.broadcast_to(np.arange(b)[:, None], (b, t))
    place = np.broadcast_to(np.arange(t), (b, t))

    def put(which: np.ndarray, where: np.ndarray, tokens: np.ndarray | int, inner: np.ndarray | int) -> None:
        to = row[which], where[which]
        out.ids[to] = tokens[which] if isinstance(tokens, np.ndarray) else tokens
        out.positions[to], out.source[to] = at[which], place[which]
        out.inner[to] = inner[which] if isinstance(inner, np.ndarray) else inner

    put(shown & ~first, at, ids, 0)
    put(first, at, mask, 0)
    put(first, after, start, 1)
    put(hidden, after + 1 + inside, ids, inside + 2)
    out.labels[row[hidden], (after + inside)[hidden]] = ids[hidden]
    last = hidden & ~np.pad(hidden[:, 1:], ((0, 0), (0, 1)))
    out.labels[row[last], (after + 1 + inside)[last]] = end
    return out


def _offsets(
    span: Int[np.ndarray, "b t"], hidden: Bool[np.ndarray, "b t"], order: np.random.Generator | None
) -> Int[np.ndarray, "b t"]:
    """How far behind part A the run of each hidden token begins."""
    b, t = hidden.shape
    row = np.broadcast_to(np.arange(b)[:, None], (b, t))
    size = np.zeros((b, t), np.int64)
    np.add.at(size, (row[hidden], span[hidden]), 1)
    size += size > 0  # the start token
    score = np.broadcast_to(np.arange(t), (b, t)) if order is None else order.random((b, t))
    turn = np.argsort(np.where(size > 0, score, t + 1.0), axis=1, kind="stable")
    sorted_ = np.take_along_axis(size, turn, axis=1)
    offset = np.zeros((b, t), np.int64)
    np.put_along_axis(offset, turn, np.cumsum(sorted_, axis=1) - sorted_, axis=1)
    return np.take_along_axis(offset, span, axis=1)
