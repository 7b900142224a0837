"""Rows that belong together - a picture, one or two texts, a label - to a store whose columns are aligned by row."""

from __future__ import annotations

import hashlib
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from modeledge.core import DataError, unknown
from modeledge.data._encode import Encoder, content_hash, held_out
from modeledge.data._job import Job, batches, ordered_map
from modeledge.data._pixels import Unusable, image_bytes, picture_size, to_pixels
from modeledge.data.readers import Bad, Record
from modeledge.data.store import StoreWriter

TEXT_COLUMNS = ("tokens", "second")
_CHUNK = 4 << 20


class Texts(NamedTuple):
    """One column of texts: tokens in a row, how many each text has, word starts."""

    tokens: np.ndarray
    lengths: np.ndarray
    word_starts: np.ndarray


class Made(NamedTuple):
    """Encoded rows: which of the given ones they are, their pictures, texts and content hashes; and the bad ones."""

    kept: np.ndarray
    image: np.ndarray | None
    texts: list[Texts]
    hashes: np.ndarray
    bad: list[tuple[int, str]]


class RowEncoder:
    """What every process holds. size: of pictures, None if there are none."""

    def __init__(self, tokenizer: Any, *, size: int | None, segment: bool):
        self.size = size
        self.text = Encoder(tokenizer, segment=segment, sentences=False) if tokenizer is not None else None

    def __call__(self, rows: Sequence[tuple[bytes | None, list[str]]]) -> Made:
        """Encode rows given as (encoded picture, texts). Rows with an empty text are left out."""
        texts = [self._encode(list(column)) for column in zip(*(row[1] for row in rows), strict=True)]
        fine = np.ones(len(rows), bool)
        for column in texts:
            fine &= column.lengths > 0
        pixels, bad = [], []
        for number, (data, _) in enumerate(rows):
            if self.size is None or not fine[number]:
                continue
            try:
                pixels.append(to_pixels(data or b"", self.size))
            except Unusable as error:
                fine[number] = False
                bad.append((number, str(error)))
        image = np.stack(pixels) if pixels else None
        hashes = np.array([_row_hash(*rows[i]) for i in np.flatnonzero(fine).tolist()], np.uint64)
        return Made(np.flatnonzero(fine), image, [_choose(t, fine) for t in texts], hashes, bad)

    def _encode(self, texts: list[str]) -> Texts:
        assert self.text is not None
        chunk = self.text(texts)
        lengths = np.zeros(len(texts), np.int64)
        lengths[chunk.kept] = chunk.lengths
        return Texts(chunk.tokens, lengths, chunk.word_starts)


def _choose(texts: Texts, rows: np.ndarray) -> Texts:
    take = np.repeat(rows, texts.lengths)
    return Texts(texts.tokens[take], texts.lengths[rows], texts.word_starts[take])


def key_of(record: Record, image: str | None, texts: Sequence[str]) -> int:
    """The hash that says on which side of the hold-out split a row goes."""
    try:
        data = image_bytes(record, image) if image else None
    except Unusable:  # left out, or refused, when it is written
        data = None
    return _row_hash(data, [record.value[t] for t in texts])


def _row_hash(data: bytes | None, texts: list[str]) -> int:
    """64 bits that depend on the picture if there is one, else on the first text."""
    if data is not None:
        return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
    return content_hash(texts[0])


_encoder: RowEncoder | None = None


def start(encoder: RowEncoder) -> None:
    """Begin a process."""
    global _encoder
    _encoder = encoder


def work(rows: Sequence[tuple[bytes | None, list[str]]]) -> Made:
    """Encode rows in a process that was started by `start`."""
    assert _encoder is not None
    return _encoder(rows)


class RowsWriter:
    """Writes encoded rows in order; labels are kept until their names are all known."""

    def __init__(self, writer: StoreWriter, encoder: RowEncoder, columns: Sequence[str], *, fraction: float):
        self.writer, self.encoder, self.columns, self.fraction = writer, encoder, columns, fraction
        self.labels: dict[bool, list[Any]] = {False: [], True: []}
        self.held_at: list[str] = []
        self.rows = {False: 0, True: 0}
        self.tokens = {False: 0, True: 0}
        text = encoder.text
        self.frequency = np.zeros(text.tokenizer.vocab if text else 0, np.int64)

    def append(self, made: Made, labels: Sequence[tuple[Any, str]] | None, *, held: bool) -> None:
        """Write rows, with their labels and where each stands, to their sides; `held`: all of them are held out."""
        side = held_out(made.hashes, self.fraction) | held
        for which in (False, True):
            rows = side == which
            if not rows.any():
                continue
            writer = self.writer.valid() if which else self.writer
            if made.image is not None:
                writer.column("image", np.uint8, made.image.shape[1:]).append(made.image[rows])
            for name, texts in zip(self.columns, made.texts, strict=True):
                chosen = _choose(texts, rows)
                writer.ragged(name, self.encoder.text.dtype, chosen.tokens, chosen.lengths)
                words = "word_starts" if name == "tokens" else f"{name}_word_starts"
                writer.column(words, bool).append(chosen.word_starts)
                self.tokens[which] += len(chosen.tokens)
                if not which:
                    self.frequency += np.bincount(chosen.tokens, minlength=len(self.frequency))
            if labels is not None:
                found = [labels[i] for i in made.kept[rows].tolist()]
                self.labels[which] += [sys.intern(v) if isinstance(v, str) else v for v, _ in found]
                for at in (at for v, at in found if isinstance(v, float) and not math.isfinite(v)):
                    raise DataError(f"{at}: label: expected a finite number")
                self.held_at += [at for _, at in found] if which else []
            self.rows[which] += int(rows.sum())

    def _write_labels(self) -> list[str]:
        """Numbers as they are, names as their places in the sorted list of names, which is returned.

        Labels are numbers where one has a fraction; separated values hold texts, so there all must read as numbers."""
        numbers = any(isinstance(v, float) for v in self.labels[False]) or _are_numbers(self.labels[False])
        names = [] if numbers else sorted({str(v) for v in self.labels[False]}, key=_natural)
        place = {name: i for i, name in enumerate(names)}
        for which, values in self.labels.items():
            for value, at in zip(values, self.held_at if which else itertools.repeat("training rows"), strict=False):
                if _number(value) is None if numbers else str(value) not in place:
                    raise DataError(_strange(value, at, names))
            if self.rows[which]:
                writer = self.writer.valid() if which else self.writer
                found = [_number(v) if numbers else place[str(v)] for v in values]
                writer.column("label", np.float32 if numbers else np.int32).append(np.array(found))
        return names

    def finish(self, where: str, meta: dict[str, Any]) -> list[str]:
        """Complete the store; the names of the classes. Raises DataError if nothing is left to train on."""
        if not self.rows[False]:
            raise DataError(f"{where}: no rows to train on ({self.rows[True]} held out)")
        known = [v is not None for side in self.labels.values() for v in side]
        names = self._write_labels() if all(known) and known else []
        if any(known) and not all(known):
            raise DataError(f"{where}: {known.count(False)} of {len(known)} rows have no label")
        if self.columns:
            self.writer.column("frequency", np.int64).append(self.frequency)
        self.writer.finish(rows=self.rows[False], valid_rows=self.rows[True], meta=meta | {"labels": names})
        return names


def _number(value: Any) -> float | None:
    """The finite number that a label is or spells."""
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _are_numbers(labels: Sequence[Any]) -> bool:
    """Whether labels are texts that all spell numbers, one of them not a whole one."""
    names = {v for v in labels if v is not None}
    if not names or not all(isinstance(v, str) for v in names):
        return False
    numbers = [_number(v) for v in names]
    return all(n is not None for n in numbers) and not all(float(n or 0).is_integer() for n in numbers)


def _strange(value: Any, at: str, names: Sequence[str]) -> str:
    """What to say of a label that is no number, or that training lacks."""
    if not names:
        return f"{at}: label: expected a finite number, found {value!r}"
    return unknown(f"{at}: label", "class in training", str(value), names, then="mend it, or other rows to hold out")


def _natural(name: str) -> tuple[float, str]:
    return (float(name) if name.removeprefix("-").isdecimal() else float("inf"), name)


def first_size(job: Job, column: str) -> int:
    """The shorter side of the first good picture, at most 256."""
    for record in job.records():
        try:
            return min(*picture_size(image_bytes(record, column)), 256)
        except Unusable as error:
            if job.on_bad == "stop":
                job.reject(Bad(record.file, record.line, record.offset, str(error)))
    raise DataError(f"{job.files[0]}: no pictures in it")


def write_rows(
    job: Job,
    made: RowsWriter,
    *,
    image: str | None,
    texts: Sequence[str],
    label: str | None,
    processes: int,
    held: bool = False,
) -> None:
    """Encode all rows of a job and write them; the result does not depend on the number of processes."""
    waiting: list[list[Record]] = []

    def chunks() -> Iterator[list[tuple[bytes | None, list[str]]]]:
        for records in batches(_with_pictures(job, image), lambda r: _weight(r, image, texts), _CHUNK):
            waiting.append(records)
            yield [(r.value[image] if image else None, [r.value[t] for t in texts]) for r in records]

    with ordered_map(work, processes, start, made.encoder) as mapped:
        for encoded in mapped(chunks()):
            records = waiting.pop(0)
            for number, reason in encoded.bad:
                r = records[number]
                job.reject(Bad(r.file, r.line, r.offset, reason))
            job.tally["empty_rows"] += len(records) - len(encoded.kept) - len(encoded.bad)
            labels = [(r.value[label], f"{r.file}:{r.line}") for r in records] if label else None
            made.append(encoded, labels, held=held)
            job.report(made.rows[False])


def _with_pictures(job: Job, image: str | None) -> Iterator[Record]:
    """Records with the bytes of their picture in place."""
    for record in job.records():
        if image is None:
            yield record
            continue
        try:
            yield record._replace(value=record.value | {image: image_bytes(record, image)})
        except Unusable as error:
            job.reject(Bad(record.file, record.line, record.offset, str(error)))


def _weight(record: Record, image: str | None, texts: Sequence[str]) -> int:
    pixels = 1 << 16 if image else 0  # decoded pictures are larger than their files
    return pixels + sum(len(record.value[t]) + 1 for t in texts)
