"""Rows framed by special tokens: [cls] A [sep], [cls] A [sep] B [sep], laid out for a whole batch at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch, Facts
from modeledge.data.sources._stream import NOTES, Stream, blank, separator
from modeledge.data.store import Store


class Range(NamedTuple):
    """Stored tokens begin ... begin + size of each row: int64 [b] each."""

    begin: Int[np.ndarray, " b"]
    size: Int[np.ndarray, " b"]


class Frame:
    """What stands around the tokens of a row: cls in front (if the tokenizer has one), sep after each part."""

    def __init__(self, facts: Facts):
        self.cls = facts.special.get("cls")
        self.sep = separator(facts)
        self.pad = facts.pad
        self.head = int(self.cls is not None)

    def room(self, length: int, parts: int = 1) -> int:
        """How many tokens of the corpus fit into a row of `length`."""
        return length - self.head - parts

    def lay(
        self, store: Store, parts: list[Range], length: int, *, without: Range | None = None, side: str = "tokens"
    ) -> Batch:
        """Rows of one or two ranges of stored tokens, padded to `length`; `segments` only if there are two.

        without: stored tokens that are passed over; the size of a part is what it has besides them. side: the column
        of tokens, `second` for the second texts of pairs."""
        place = np.arange(length)
        first, second = parts[0], parts[-1]
        ends = [(self.head + first.size)[:, None]]  # where the separator after each part stands
        address = first.begin[:, None] - self.head + place
        inside = (place >= self.head) & (place < ends[0])
        if len(parts) == 2:
            ends.append(ends[0] + 1 + second.size[:, None])
            in_second = (place > ends[0]) & (place < ends[1])
            address = np.where(place > ends[0], second.begin[:, None] - ends[0] - 1 + place, address)
            inside |= in_second
        valid = place <= ends[-1]
        if without is not None:
            address = address + np.where(address >= without.begin[:, None], without.size[:, None], 0)
        address = np.where(inside, address, 0)
        ids = store[side][address].astype(np.int32)
        ids[~inside] = self.sep
        ids[~valid] = self.pad
        if self.cls is not None:
            ids[:, 0] = self.cls
        batch = Batch(ids=ids, special=~inside)
        words = "word_starts" if side == "tokens" else f"{side}_word_starts"
        if words in store:
            batch["word_starts"] = store[words][address] | ~inside
        for name in NOTES:
            if name in store:
                batch[name] = blank(store[name][address], ~inside)
        if len(parts) == 2:
            batch["segments"] = ((place > ends[0]) & valid).astype(np.int8)
        return batch if valid.all() else batch.but(valid=valid)

    def lay_stream(self, stream: Stream, begins: np.ndarray, sizes: np.ndarray, length: int, *, isolate: bool) -> Batch:
        """Rows of `sizes` places of the stream, which may hold separators of its own, framed and padded."""
        place = np.arange(length - self.head)
        ids, doc, special, words, notes = stream.cut(begins, length - self.head)
        outside = place >= sizes[:, None]
        special |= outside
        np.copyto(ids, self.pad, where=outside)
        ids[np.arange(len(ids)), sizes] = self.sep
        valid = place <= sizes[:, None]
        told = isolate or stream.lang is not None  # only these ask for the documents
        if told:
            last = np.take_along_axis(doc, np.maximum(sizes - 1, 0)[:, None], 1)
            doc = np.where(valid, np.minimum(doc, last), -1)
        if self.cls is not None:
            ids, special, valid = put_before(ids, self.cls), put_before(special, True), put_before(valid, True)
            doc = put_before(doc, 0) if told else doc
            words = words if words is None else put_before(words, True)
        batch = Batch(ids=ids, special=special)
        if words is not None:
            batch["word_starts"] = words | special
        for name, values in notes.items():
            batch[name] = blank(np.pad(values, ((0, 0), (self.head, 0))), special)
        if isolate:
            batch["doc"] = doc
        batch = batch.but(lang=stream.languages(begins, doc))
        return batch if valid.all() else batch.but(valid=valid)


def put_before(x: np.ndarray, value: int) -> np.ndarray:
    """Rows with one more entry in front: b t -> b t+1."""
    out = np.empty((x.shape[0], x.shape[1] + 1), x.dtype)
    out[:, 0], out[:, 1:] = value, x
    return out
