"""From raw files to a store: text, labelled tables, images, image-text pairs, parallel text.

Everything streams; the same input gives the same bytes for any number of processes; nothing is visible under its name
before it is complete. What bad records do is a policy; a damaged file always stops."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from modeledge.core import InputError, PartConfig, build
from modeledge.data._job import REJECTS, Job, Progress, Summary
from modeledge.data._text import train_tokenizer, write_text
from modeledge.data.readers import Documents, Wanted, expand
from modeledge.data.store import StoreWriter, require_free

Kind = Literal["text"]


def prepare(
    files: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    tokenizer: Any = None,
    text: str = "text",
    lang: str | None = None,
    documents: Documents = "file",
    words: Literal["auto", "tokenizer"] = "auto",
    near: Literal["count", "drop"] = "count",
    valid_fraction: float = 0.02,
    on_bad: Literal["stop", "skip"] = "stop",
    processes: int | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Text files, folders and globs to a store of tokens at `out`.

    tokenizer       a tokenizer, or the config of one to train on the text
    text, lang      names of the columns with the text and with its language (lang="file": the file's name up to a dot)
    documents       what a document of a .txt file is: the file, what stands between blank lines, a line
    words           auto: Chinese words by jieba where it is installed; tokenizer: by the tokenizer's pieces alone
    near            documents that resemble an earlier one: count them, or drop them too
    valid_fraction  share of documents to hold out, chosen by what they say
    on_bad          stop at a bad record, or skip it into rejects.jsonl
    progress        called with the share of the input read (0..1) and the tokens made

    Raises DataError (where: file, line, byte) for bad input and InputError if `out` already holds something."""
    began = time.monotonic()
    out = Path(out)
    require_free(out)
    if not 0 <= valid_fraction < 1:
        raise InputError(f"--valid-fraction: expected 0 <= fraction < 1, found {valid_fraction}")
    columns = {text: (str,)} | ({lang: (str, int)} if lang not in (None, "file") else {})
    wanted = Wanted(columns, documents=documents)
    job = Job(expand(files), wanted, on_bad=on_bad, progress=progress)
    tokenizer = _ready(tokenizer, job, text, valid_fraction)
    job.tally.clear()
    with StoreWriter(out) as writer:
        job.rejects = writer.folder / REJECTS
        made = write_text(
            job,
            writer,
            tokenizer,
            column=text,
            lang=lang,
            words=words,
            processes=job.processes(processes),
            valid_fraction=valid_fraction,
            near=near,
        )
    sides = {side: (part.rows, part.tokens) for side, part in made.parts.items()}
    counts = {"empty_documents": made.empty, "near_duplicates": made.duplicates}
    counts |= {name: job.tally[name] for name in ("empty_lines", "documents_cut", "rejected")}
    return Summary(
        path=out,
        rows=sides[False][0],
        tokens=sides[False][1],
        valid_rows=sides.get(True, (0, 0))[0],
        valid_tokens=sides.get(True, (0, 0))[1],
        vocab=tokenizer.vocab,
        fingerprint=tokenizer.fingerprint,
        files=len(job.files),
        seconds=time.monotonic() - began,
        counts=counts,
    )


def _ready(tokenizer: Any, job: Job, column: str, valid_fraction: float) -> Any:
    """A tokenizer that can encode: the one given, or one trained as its config says."""
    if tokenizer is None:
        raise InputError("prepare: text needs a tokenizer: a folder to load one from, or the kind and size of one to train")
    if isinstance(tokenizer, PartConfig):
        tokenizer = build("tokenizers", tokenizer)
    if not tokenizer.vocab:
        job.on_bad, policy = "skip", job.on_bad
        tokenizer = train_tokenizer(tokenizer, job, column, valid_fraction=valid_fraction)
        job.on_bad = policy
    return tokenizer
