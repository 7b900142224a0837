"""Records of several named fields - a paper's title, authors, venue - to a store of typed entities.

Each text of a field is an entity of that field's type; a record is one document. Not here: their order in a row and
what is hidden (sources/typed_entities.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from modeledge.core import DataError
from modeledge.data._encode import Encoder, content_hash, held_out
from modeledge.data._job import Job, batches
from modeledge.data.readers import Record
from modeledge.data.store import StoreWriter

_CHUNK = 1 << 20


def entities_of(record: Record, fields: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The entities of a record, each with the number of its field. Raises DataError for a field that is no text."""
    for number, name in enumerate(fields):
        value = record.value[name]
        for text in value if isinstance(value, list) else [value]:
            if text is not None and not isinstance(text, str):
                raise DataError(f"{record.file}:{record.line}: field {name!r}: expected text or a list, found {text!r}")
            if text and text.strip():
                yield number, text


def key_of(record: Record, fields: Sequence[str]) -> int:
    """The hash that says on which side of the hold-out split a record goes."""
    return _hash(list(entities_of(record, fields)))


def _hash(entities: Sequence[tuple[int, str]]) -> int:
    return content_hash("\n".join(text for _, text in entities))


class FieldsWriter:
    """Takes records in order, encodes their entities, writes them to their sides."""

    def __init__(self, writer: StoreWriter, encoder: Encoder, fields: Sequence[str], *, fraction: float):
        self.writer, self.encoder, self.fields, self.fraction = writer, encoder, list(fields), fraction
        self.rows = {False: 0, True: 0}
        self.tokens = {False: 0, True: 0}
        self.empty = 0
        self.frequency = np.zeros(encoder.tokenizer.vocab, np.int64)

    def write(self, job: Job, *, held: bool) -> None:
        """Write all records of a job; `held`: all of them are held out."""
        for records in batches(job.records(), lambda r: sum(len(str(v)) for v in r.value.values()), _CHUNK):
            found = [list(entities_of(r, self.fields)) for r in records]
            codes = np.array([_hash(entities) for entities in found], np.uint64)
            self._append(found, held_out(codes, self.fraction) | held)
            job.report(sum(self.tokens.values()))

    def _append(self, found: list[list[tuple[int, str]]], side: np.ndarray) -> None:
        chunk = self.encoder([text for entities in found for _, text in entities])
        kind = np.array([number for entities in found for number, _ in entities], np.uint8)[chunk.kept]
        owner = np.repeat(np.arange(len(found)), [len(entities) for entities in found])[chunk.kept]
        begins = np.zeros(len(chunk.tokens), bool)
        begins[np.cumsum(chunk.lengths) - chunk.lengths] = True
        of_token = np.repeat(owner, chunk.lengths)
        sizes = np.bincount(of_token, minlength=len(found))
        self.empty += int((sizes == 0).sum())
        for which in (False, True):
            rows = (side == which) & (sizes > 0)
            if not rows.any():
                continue
            take = rows[of_token]
            writer = self.writer.valid() if which else self.writer
            writer.ragged("tokens", self.encoder.dtype, chunk.tokens[take], sizes[rows])
            writer.column("word_starts", bool).append(chunk.word_starts[take])
            writer.column("entity_starts", bool).append(begins[take])
            writer.column("types", np.uint8).append(np.repeat(kind, chunk.lengths)[take])
            self.rows[which] += int(rows.sum())
            self.tokens[which] += int(take.sum())
            if not which:
                self.frequency += np.bincount(chunk.tokens[take], minlength=len(self.frequency))

    def finish(self, where: str, meta: dict[str, Any]) -> None:
        """Complete the store. Raises DataError if nothing is left to train on."""
        if not self.rows[False]:
            raise DataError(f"{where}: no records to train on ({self.rows[True]} held out, {self.empty} empty)")
        self.writer.column("frequency", np.int64).append(self.frequency)
        told = {"types": self.fields, "tokens": self.tokens[False]}
        self.writer.finish(rows=self.rows[False], valid_rows=self.rows[True], meta=meta | told)
