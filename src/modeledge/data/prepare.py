"""From raw files to a store: text, labelled tables, images, image-text pairs, parallel text.

Everything streams; the same input gives the same bytes for any number of processes; nothing is visible under its name
before it is complete. What bad records do is a policy; a damaged file always stops."""

from __future__ import annotations

import string
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from modeledge.core import InputError, PartConfig, build, unknown
from modeledge.data import _aligned as aligned
from modeledge.data import _fields as fields_of
from modeledge.data._aligned import TEXT_COLUMNS, RowEncoder, RowsWriter, first_size, write_rows
from modeledge.data._chinese import segmenter_name
from modeledge.data._encode import Encoder
from modeledge.data._fields import FieldsWriter, entities_of
from modeledge.data._gazetteer import Gazetteer, read_entities, read_phrases
from modeledge.data._job import REJECTS, Job, Progress, Summary, names_of
from modeledge.data._names import vectors_for, write_names
from modeledge.data._text import TextWriter, train_tokenizer, write_text
from modeledge.data._triples import TriplesWriter, read_descriptions, write_descriptions
from modeledge.data.readers import IMAGES, TABLES, TEXTS, Documents, Packed, Record, Wanted, expand
from modeledge.data.store import StoreWriter, require_free

Kind = Literal["text", "table", "images", "pairs", "parallel", "triples", "fields"]
Words = Literal["auto", "tokenizer"]
Near = Literal["count", "drop"]
OnBad = Literal["stop", "skip"]
_CHOICES = {"kind": Kind, "documents": Documents, "words": Words, "near": Near, "on_bad": OnBad}
Files = str | Path | Sequence[str | Path]
KINDS = {"text": TEXTS, "table": TABLES, "images": (*IMAGES, ".parquet", ".tar"), "pairs": TABLES, "parallel": TABLES}
KINDS |= {"triples": TABLES, "fields": TABLES}
"""What can be prepared, and from files of which endings."""


@dataclass
class Plan:
    """Settings of `prepare`.

    files           files, folders (read recursively) and globs
    kind            text: documents; table: one or two texts and a label; images: pictures and, where there is one, a
                    label (the column, or the folder's name); pairs: picture and text; parallel: two texts; triples:
                    head, relation and tail of facts; fields: records of several named texts
    tokenizer       a tokenizer, or the config of one to train on the training text; none for images
    valid           files to hold out; without them `valid_fraction` of the rows, chosen by their content
    text, second    names of the columns of text; image, label, lang: of the others (lang="file": the file's name up to
                    its first dot; label=None: there is none)
    marks           the column of spans of characters, pairs [begin, end], whose tokens are to be marked in text
    head, relation, tail   names of the columns of triples
    fields          names of the columns of records (fields), each a text or a list of texts, or null
    entities        a file of surface forms, each with a tab and its entity, to be marked in text
    phrases         a file of phrases, one a line, to be marked in text
    capitals        mark the words that begin with a capital letter, in text whose tokenizer folds case
    vectors         a folder of a model of triples: what it knows of the entities goes into the store
    descriptions    a file of entities, each with a tab and a text that describes it (triples)
    size            side of the stored pictures (default: the first picture's shorter side, at most 256)
    documents       what a document of a .txt file is: the file, what stands between blank lines, a line
    words           auto: Chinese words by jieba where it is installed; tokenizer: by the tokenizer's pieces alone
    near            documents that resemble an earlier one: count them, or drop them too
    on_bad          stop at a bad record, or skip it into rejects.jsonl
    processes       how many (0: as many as there are cores, one for little data)
    progress        called with the share of the input read (0..1) and the tokens or rows made"""

    files: Files
    kind: Kind = "text"
    tokenizer: Any = None
    valid: Files | None = None
    valid_fraction: float = 0.02
    text: str = "text"
    second: str | None = None
    image: str = "image"
    label: str | None = "label"
    lang: str | None = None
    marks: str | None = None
    head: str = "head"
    relation: str = "relation"
    tail: str = "tail"
    fields: Sequence[str] = ()
    entities: Path | None = None
    phrases: Path | None = None
    capitals: bool = False
    vectors: Path | None = None
    descriptions: Path | None = None
    size: int | None = None
    documents: Documents = "file"
    words: Words = "auto"
    near: Near = "count"
    on_bad: OnBad = "stop"
    processes: int = 0
    progress: Progress | None = None

    def __post_init__(self) -> None:
        for name, choice in _CHOICES.items():
            if getattr(self, name) not in get_args(choice):
                raise InputError(unknown("prepare", f"`{name}`", getattr(self, name), get_args(choice)))
        if self.processes < 0:
            raise InputError(f"--processes: expected 0 or more, found {self.processes}")
        if not 0 <= self.valid_fraction < 1:
            raise InputError(f"--valid: expected 0 <= fraction < 1, found {self.valid_fraction}")
        if self.kind == "parallel" and self.second is None:
            raise InputError("prepare: parallel text has two columns; name the other with --column second=NAME")
        if bool(self.fields) != (self.kind == "fields"):
            raise InputError("--kind fields goes with --fields NAME,NAME,...: the columns that hold entities")
        lists = {"entities": "text", "phrases": "text", "descriptions": "triples"}
        for name, kind in lists.items():
            if getattr(self, name) is not None and self.kind != kind:
                raise InputError(f"--{name}: for --kind {kind}, found --kind {self.kind}")
        for option, given in (("--capitals", self.capitals), (f"--column marks={self.marks}", self.marks)):
            if given and self.kind != "text":
                raise InputError(f"{option}: for --kind text, found --kind {self.kind}")
        if self.vectors is not None and self.entities is None:
            raise InputError("--vectors: vectors belong to entities; name their surface forms with --entities FILE")
        if self.tokenizer is None and (self.kind not in ("images", "triples") or self.descriptions is not None):
            raise InputError(
                "prepare: text needs a tokenizer: a folder to load one from, or the kind and size of one to train"
            )

    @property
    def texts(self) -> list[str]:
        """The columns of text that are read."""
        if self.kind in ("images", "triples", "fields"):
            return []
        second = self.second if self.kind in ("table", "parallel") else None
        return [self.text, *([second] if second else [])]

    def texts_of(self, record: Record) -> list[str]:
        """The texts of a record."""
        if self.kind == "fields":
            return [text for _, text in entities_of(record, self.fields)]
        return [record.value[column] for column in self.texts]

    def key_of(self, record: Record) -> int:
        """The hash that says on which side of the hold-out split a record goes."""
        if self.kind == "fields":
            return fields_of.key_of(record, self.fields)
        return aligned.key_of(record, self.image if self.kind == "pairs" else None, self.texts)

    @property
    def triple(self) -> tuple[str, str, str]:
        """The columns of triples."""
        return self.head, self.relation, self.tail

    @property
    def segments(self) -> bool:
        """Whether Chinese words are told by a segmenter."""
        return self.words == "auto" and segmenter_name() is not None

    @property
    def labelled(self) -> str | None:
        """The column of labels that is read."""
        return self.label if self.kind in ("table", "images") else None

    def wanted(self) -> Wanted:
        """The columns to read, the picture first."""
        columns: dict[str, tuple[type, ...]] = {}
        if self.kind in ("images", "pairs"):
            columns[self.image] = (bytes, str, dict)
        columns |= dict.fromkeys(self.texts, (str,))
        if self.labelled:
            columns[self.labelled] = (str, int, float, bool)
        if self.kind == "triples":
            return Wanted(dict.fromkeys(self.triple, (str, int)), bare=True)
        if self.kind == "fields":
            return Wanted(dict.fromkeys(self.fields, (str, list)), tuple(self.fields))
        if self.lang not in (None, "file") and self.kind == "text":
            columns[str(self.lang)] = (str, int)
        if self.marks:
            columns[self.marks] = (list,)
        optional = ("label",) if self.kind == "images" and self.label == "label" else ()
        return Wanted(columns, optional, self.documents, packed=self.packed)

    @property
    def packed(self) -> Packed | None:
        """How to read files of ids: by the tokenizer that was given, if it can encode already and knows an end."""
        given = self.tokenizer
        if isinstance(given, PartConfig) or not getattr(given, "vocab", 0):
            return None
        end = given.special.get("eos", given.special.get("sep"))
        return None if end is None else Packed(given.decode, end, given.vocab)

    def jobs(self) -> list[Job]:
        """What is read for training and, if files are given for it, for validation."""
        sides = [] if self.valid is None else [self.valid]
        made = []
        for files in (self.files, *sides):
            found = expand(files, allowed=KINDS[self.kind])
            made.append(Job(found, self.wanted(), on_bad=self.on_bad, progress=self.progress))
        return made

    @property
    def fraction(self) -> float:
        """Share of the rows to hold out of the training files."""
        return 0.0 if self.valid is not None else self.valid_fraction


def prepare(files: Files, *, out: str | Path, **settings: Any) -> Summary:
    """Files, folders and globs to a store at `out`; `settings` are those of `Plan`.

    Raises DataError (where: file, line, byte) for bad input and InputError if `out` already holds something."""
    began, out = time.monotonic(), Path(out)
    require_free(out)
    plan = Plan(files, **settings)
    jobs = plan.jobs()
    summary = Summary(out, files=sum(len(job.files) for job in jobs))
    tokenizer = _ready(plan, jobs[0])
    for job in jobs:
        job.tally.clear()
    with StoreWriter(out) as writer:
        for job in jobs:
            job.rejects = writer.folder / REJECTS
        if tokenizer is not None:
            tokenizer.save(writer.folder)
            summary.vocab, summary.fingerprint = tokenizer.vocab, tokenizer.fingerprint
        makers = {"text": _text, "triples": _triples, "fields": _fields}
        makers.get(plan.kind, _aligned)(plan, jobs, writer, tokenizer, summary)
    summary.seconds = time.monotonic() - began
    return summary


def _meta(plan: Plan, jobs: list[Job], tokenizer: Any, summary: Summary, more: dict[str, int]) -> dict[str, Any]:
    seen = ("empty_lines", "empty_rows", "documents_cut", "rejected")
    summary.counts = more | {name: sum(job.tally[name] for job in jobs) for name in seen}
    told: dict[str, Any] = {"kind": plan.kind, "counts": summary.counts}
    if tokenizer is not None:
        told |= {"tokenizer": tokenizer.kind, "fingerprint": tokenizer.fingerprint, "vocab": tokenizer.vocab}
        told["segmenter"] = segmenter_name() if plan.segments else None
    return told | {"sources": [part for job in jobs for part in job.sources()]}


def _text(plan: Plan, jobs: list[Job], writer: StoreWriter, tokenizer: Any, summary: Summary) -> None:
    marked, told = _gazetteers(plan, tokenizer, writer)
    if plan.capitals and not folds_case(tokenizer):
        raise InputError("--capitals: this tokenizer tells capitals apart by itself\n  next: one with lowercase: true")
    marked |= {"capitals": plan.capitals, "marks": plan.marks is not None}
    encoder = Encoder(tokenizer, segment=plan.segments, fraction=plan.fraction, **marked)
    made = TextWriter(writer, encoder, fraction=plan.fraction, near=plan.near)
    for nth, job in enumerate(jobs):
        processes = job.processes(plan.processes)
        options: dict[str, Any] = {"column": plan.text, "lang": plan.lang, "marks": plan.marks}
        write_text(job, made, **options, processes=processes, held=nth > 0)
    seen = {"empty_documents": made.empty, "near_duplicates": made.duplicates}
    made.finish(names_of(jobs[0].files), _meta(plan, jobs, tokenizer, summary, seen) | told)
    train, valid = made.parts[False], made.parts.get(True)
    summary.rows, summary.tokens = train.rows, train.tokens
    summary.valid_rows, summary.valid_tokens = (valid.rows, valid.tokens) if valid else (0, 0)


def folds_case(tokenizer: Any) -> bool:
    """Whether letters have the same ids large and small."""
    ids = tokenizer.encode_batch([*string.ascii_uppercase, *string.ascii_lowercase])
    return all(np.array_equal(large, small) for large, small in zip(ids[:26], ids[26:], strict=True))


def _gazetteers(plan: Plan, tokenizer: Any, writer: StoreWriter) -> tuple[dict[str, Any], dict[str, int]]:
    """What is to be marked in text; how many entities there are, whose names (and vectors) go into the store."""
    marked: dict[str, Any] = {}
    told: dict[str, int] = {}
    if plan.entities is not None:
        forms, numbers, names = read_entities(Path(plan.entities))
        marked["entities"] = Gazetteer(forms, numbers, tokenizer)
        told["entities"] = len(names)
        write_names(writer.folder, names)
        if plan.vectors is not None:
            vectors = vectors_for(names, Path(plan.vectors))
            writer.column("entity_vectors", np.float32, vectors.shape[1:]).append(vectors)
    if plan.phrases is not None:
        phrases = read_phrases(Path(plan.phrases))
        marked["phrases"] = Gazetteer(phrases, range(len(phrases)), tokenizer)
    return marked, told


def _triples(plan: Plan, jobs: list[Job], writer: StoreWriter, tokenizer: Any, summary: Summary) -> None:
    made = TriplesWriter(writer, fraction=plan.fraction)
    for nth, job in enumerate(jobs):
        made.write(job, plan.triple, held=nth > 0)
    meta = _meta(plan, jobs, tokenizer, summary, {})
    if plan.descriptions is not None:
        told = dict(read_descriptions(Path(plan.descriptions)))
        encoder = Encoder(tokenizer, segment=plan.segments, sentences=False)
        described = {"fingerprint": tokenizer.fingerprint, "described": sum(name in told for name in made.entities)}
        write_descriptions(writer.folder, made.entities, told, encoder, described)
    made.finish(names_of(jobs[0].files), meta)
    summary.rows, summary.valid_rows = made.rows[False], made.rows[True]


def _fields(plan: Plan, jobs: list[Job], writer: StoreWriter, tokenizer: Any, summary: Summary) -> None:
    encoder = Encoder(tokenizer, segment=plan.segments, sentences=False)
    made = FieldsWriter(writer, encoder, plan.fields, fraction=plan.fraction)
    for nth, job in enumerate(jobs):
        made.write(job, held=nth > 0)
    made.finish(names_of(jobs[0].files), _meta(plan, jobs, tokenizer, summary, {"empty_documents": made.empty}))
    summary.rows, summary.valid_rows = made.rows[False], made.rows[True]
    summary.tokens, summary.valid_tokens = made.tokens[False], made.tokens[True]


def _aligned(plan: Plan, jobs: list[Job], writer: StoreWriter, tokenizer: Any, summary: Summary) -> None:
    image = plan.image if plan.kind in ("images", "pairs") else None
    size = plan.size or (first_size(jobs[0], plan.image) if image else None)
    jobs[0].tally.clear()
    encoder = RowEncoder(tokenizer, size=size if image else None, segment=plan.segments)
    made = RowsWriter(writer, encoder, TEXT_COLUMNS[: len(plan.texts)], fraction=plan.fraction)
    for nth, job in enumerate(jobs):
        processes = job.processes(plan.processes)
        options: dict[str, Any] = {"image": image, "texts": plan.texts, "label": plan.labelled}
        write_rows(job, made, **options, processes=processes, held=nth > 0)
    meta = _meta(plan, jobs, tokenizer, summary, {})
    summary.labels = made.finish(names_of(jobs[0].files), meta)
    summary.rows, summary.valid_rows = made.rows[False], made.rows[True]
    summary.tokens, summary.valid_tokens = made.tokens[False], made.tokens[True]


def _ready(plan: Plan, job: Job) -> Any:
    """A tokenizer that can encode: the one given, or one trained as its config says."""
    if plan.kind == "images" or (plan.kind == "triples" and plan.descriptions is None):
        return None
    tokenizer = plan.tokenizer
    if isinstance(tokenizer, PartConfig):
        tokenizer = build("tokenizers", tokenizer)
    if tokenizer is not None and not tokenizer.vocab:
        if plan.descriptions is not None:
            return tokenizer.train(text for _, text in read_descriptions(Path(plan.descriptions)))
        tokenizer = train_tokenizer(tokenizer, job, plan.texts_of, key=plan.key_of, valid_fraction=plan.fraction)
    return tokenizer
