"""Triples (head, relation, tail) to a store: names become numbers in the order in which they first occur.

Entities may come with a description each, encoded into a store of its own, `entities/`, a row an entity (none: the
entity's name). Not here: mentions of entities in text (_gazetteer.py), corrupted triples (sources/triples.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from modeledge.core import DataError
from modeledge.data._encode import Encoder, content_hash, held_out
from modeledge.data._job import Job, batches
from modeledge.data._names import RELATIONS, Numbers, write_names
from modeledge.data.readers import Bad, Record, Wanted, read
from modeledge.data.store import StoreWriter

COLUMNS = ("head", "relation", "tail")
DESCRIBED = "entities"
"""Folder of the descriptions, a store inside the store."""
_ROWS = 1 << 16


class TriplesWriter:
    """Takes records in order, numbers what they name, writes them to their sides."""

    def __init__(self, writer: StoreWriter, *, fraction: float):
        self.writer, self.fraction = writer, fraction
        self.entities, self.relations = Numbers(), Numbers()
        self.rows = {False: 0, True: 0}

    def write(self, job: Job, columns: tuple[str, ...], *, held: bool) -> None:
        """Write all triples of a job; `held`: all of them are held out."""
        for records in batches(job.records(), lambda _: 1, _ROWS):
            named = [tuple(" ".join(str(r.value[c]).split()) for c in columns) for r in records]
            hashes = np.array([content_hash("\t".join(t)) for t in named], np.uint64)
            numbers = np.array(
                [(self.entities[head], self.relations[relation], self.entities[tail]) for head, relation, tail in named]
            )
            side = held_out(hashes, self.fraction) | held
            for which in (False, True):
                chosen = numbers[side == which]
                if len(chosen):
                    writer = self.writer.valid() if which else self.writer
                    writer.column("triples", np.int32, (3,)).append(chosen)
                    self.rows[which] += len(chosen)
            job.report(sum(self.rows.values()))

    def finish(self, where: str, meta: dict[str, Any]) -> None:
        """Complete the store. Raises DataError if nothing is left to train on."""
        if not self.rows[False]:
            raise DataError(f"{where}: no triples to train on ({self.rows[True]} held out)")
        write_names(self.writer.folder, self.entities)
        write_names(self.writer.folder, self.relations, RELATIONS)
        meta |= {"entities": len(self.entities), "relations": len(self.relations)}
        self.writer.finish(rows=self.rows[False], valid_rows=self.rows[True], meta=meta)


def read_descriptions(file: Path) -> Iterator[tuple[str, str]]:
    """Entities and their descriptions: a tab-separated file of two columns, with or without the header `name
    description`. Raises DataError at a bad line."""
    wanted = Wanted({"name": (str,), "description": (str,)}, bare=True)
    for record in read(file, wanted, Counter()):
        if isinstance(record, Bad):
            raise DataError(f"{record}\n  next: each line is an entity, a tab, its description")
        assert isinstance(record, Record)
        yield record.value["name"], record.value["description"]


def write_descriptions(
    folder: Path, entities: dict[str, int], told: dict[str, str], encoder: Encoder, meta: dict[str, Any]
) -> None:
    """Encode what is told of each entity, or its name, into the store `entities/` below `folder`."""
    texts = [told.get(name) or name for name in entities]
    chunk = encoder(texts)
    lengths = np.zeros(len(texts), np.int64)
    lengths[chunk.kept] = chunk.lengths
    with StoreWriter(folder / DESCRIBED, inside=True) as inner:
        inner.ragged("tokens", encoder.dtype, chunk.tokens, lengths)
        inner.column("word_starts", bool).append(chunk.word_starts)
        inner.finish(rows=len(texts), meta={"kind": "text", **meta})
