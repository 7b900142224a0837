"""Text to a store: train a tokenizer on a sample, encode in processes, write in order."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from modeledge.core import DataError
from modeledge.data import _encode
from modeledge.data._by_language import sort_by_language
from modeledge.data._encode import Chunk, Encoder, held_out
from modeledge.data._job import Job, batches, ordered_map, texts_of
from modeledge.data._marks import marked_records
from modeledge.data._near import NearDuplicates
from modeledge.data.readers import Record
from modeledge.data.store import StoreWriter

CHUNK = 1 << 20
"""Characters sent to a process at a time."""
SAMPLE = 32 << 20
"""Characters a tokenizer is trained on, at most."""
_PACKED = 4  # packed text grows about so much


def train_tokenizer(
    tokenizer: Any,
    job: Job,
    texts_of: Callable[[Record], Iterable[str]],
    *,
    key: Callable[[Record], int],
    valid_fraction: float,
    sample: int = SAMPLE,
) -> Any:
    """Train on the training rows, or on a share of them chosen by content if there is more than `sample`.

    texts_of: the texts of a row; key: the hash that says on which side of the hold-out split it goes."""
    grown = sum(_PACKED if f.suffix in (".gz", ".zst", ".parquet") else 1 for f in job.files) / max(len(job.files), 1)
    rate = min(1.0, sample / (job.total * grown))

    def texts() -> Iterator[str]:
        size = 0
        for record in job.records():
            code = key(record)
            if held_out(np.array([code], np.uint64), valid_fraction)[0] or (code & 0xFFFFFFFF) >= rate * 2**32:
                continue
            text = "\n".join(texts_of(record))
            yield text
            size += len(text)
            if size > 2 * sample:
                return

    return tokenizer.train(texts())


@dataclass
class TextPart:
    """One side of the hold-out split while it is written."""

    writer: StoreWriter
    dtype: Any
    vocab: int
    rows: int = 0
    tokens: int = 0
    sentences: int = 0
    text_bytes: int = 0
    per_token: tuple[str, ...] = ()
    frequency: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.frequency = np.zeros(self.vocab, np.int64)

    def append(self, chunk: Chunk, documents: np.ndarray, lang: np.ndarray | None) -> None:
        """Write the chosen documents (bool [n]) of a chunk."""
        take = np.repeat(documents, chunk.lengths)
        tokens = chunk.tokens[take]
        begins = chunk.sentences[take[chunk.sentences]]
        self.writer.ragged("tokens", self.dtype, tokens, chunk.lengths[documents])
        place = np.cumsum(take) - 1
        self.writer.column("sentences", np.int64).append(place[begins] + self.tokens)
        self.writer.column("word_starts", bool).append(chunk.word_starts[take])
        for name, values in chunk.notes.items():
            self.writer.column(name, values.dtype).append(values[take])
        self.per_token = ("tokens", "word_starts", *chunk.notes)
        if lang is not None:
            self.writer.column("lang", np.uint16).append(lang[documents])
        self.frequency += np.bincount(tokens, minlength=self.vocab)
        self.rows += int(documents.sum())
        self.tokens += len(tokens)
        self.sentences += len(begins)
        self.text_bytes += int(chunk.bytes[documents].sum())

    def told(self) -> dict[str, int]:
        """What the store says of it."""
        return {name: getattr(self, name) for name in ("tokens", "sentences", "text_bytes")}

    def close(self) -> None:
        """Write what is known only at the end, and lay the documents of one language side by side."""
        sort_by_language(self.writer, self.per_token)
        self.writer.column("frequency", np.int64).append(self.frequency)


class TextWriter:
    """Takes chunks in order: finds near-duplicates, splits, writes."""

    def __init__(self, writer: StoreWriter, encoder: Encoder, *, fraction: float, near: Literal["count", "drop"]):
        self.writer, self.encoder, self.fraction, self.near = writer, encoder, fraction, near
        self.seen = NearDuplicates()
        self.parts: dict[bool, TextPart] = {}
        self.languages: dict[str, int] = {}
        self.empty = self.duplicates = 0

    def part(self, side: bool) -> TextPart:
        """The part being written: held out (True) or for training."""
        if side not in self.parts:
            writer = self.writer.valid() if side else self.writer
            self.parts[side] = TextPart(writer, self.encoder.dtype, self.encoder.tokenizer.vocab)
        return self.parts[side]

    def append(self, chunk: Chunk, languages: list[str] | None, *, held: bool = False) -> None:
        """Write the documents of a chunk to their sides; `held`: all of them are held out."""
        self.empty += int((~chunk.kept).sum())
        if not len(chunk.lengths):
            return
        lang = None
        if languages is not None:
            codes = [self.languages.setdefault(name, len(self.languages)) for name in languages]
            lang = np.array(codes)[chunk.kept]
        near, side = self.seen.find(chunk.near, held_out(chunk.hashes, self.fraction) | held)
        side |= held
        self.duplicates += int(near.sum())
        wanted = ~near if self.near == "drop" else np.ones_like(near)
        for which in (False, True):
            documents = wanted & (side == which)
            if documents.any():
                self.part(which).append(chunk, documents, lang)

    def finish(self, where: str, meta: dict[str, Any]) -> None:
        """Complete the store. Raises DataError if there is no text, or none left to train on."""
        if not self.parts:
            raise DataError(f"{where}: no text in it: {self.empty:,} empty documents")
        if False not in self.parts:
            raise DataError(f"{where}: every document was held out\n  next: --valid 0, or more documents")
        for part in self.parts.values():
            part.close()
        train, valid = self.parts[False], self.parts.get(True)
        meta |= {"languages": list(self.languages)}
        own, held = (p.told() if p else {} for p in (train, valid))
        self.writer.finish(rows=train.rows, valid_rows=valid.rows if valid else 0, meta=meta | own, valid_meta=held)


def write_text(
    job: Job,
    made: TextWriter,
    *,
    column: str,
    lang: str | None,
    processes: int,
    marks: str | None = None,
    held: bool = False,
) -> None:
    """Encode all documents of a job and write them; the result does not depend on the number of processes.

    marks: the column of spans of characters whose tokens are to be marked."""
    names: list[list[str]] = []

    def chunks() -> Iterator[tuple[list[str], list[np.ndarray] | None]]:
        found = job.records() if marks is None else marked_records(job, text=column, marks=marks)
        for records in batches(found, lambda r: len(r.value[column]) + 1, CHUNK):
            if lang is not None:
                names.append([_language(r, lang) for r in records])
            yield texts_of(records, column), None if marks is None else [r.value[marks] for r in records]

    encoder = copy.copy(made.encoder)
    encoder.draws &= not held
    with ordered_map(_encode.work, processes, _encode.start, encoder) as mapped:
        for chunk in mapped(chunks()):
            made.append(chunk, names.pop(0) if lang is not None else None, held=held)
            job.report(sum(p.tokens for p in made.parts.values()))


def _language(record: Any, lang: str) -> str:
    if lang == "file":
        return record.file.rsplit("/", 1)[-1].split(".", 1)[0]
    return str(record.value[lang])
