"""The embedded default corpus: the prose of the Python standard library's own documentation, gathered at run time.

One document a topic of `pydoc`, a module or a class; beside it a labelled table that asks which package a docstring
belongs to. The sources are parsed, never imported, and nothing is downloaded, so the same Python gives the same bytes.
Docstrings of the table's development and test parts do not stand in the pre-training text."""

from __future__ import annotations

import ast
import json
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from modeledge.core import InputError, keyed

PACKAGES, LABELLED, TESTED, WORDS = 14, 10, 50, 8
"""Classes of the labelled table; training (and development) rows a class; at most so many test rows a class; fewest
words in a row."""
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib-dynload", "_bundled", "pydoc_data"}
_RULE = re.compile(r"^\s*[*=~^-]{4,}\s*$", re.MULTILINE)
_OWNERS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Docstring(NamedTuple):
    """One docstring: the top-level package or module it belongs to, the document it goes into, its prose."""

    package: str
    document: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """documents: texts for pre-training; train, dev, test: (text, package) rows; packages: the classes, sorted."""

    documents: list[str]
    train: list[tuple[str, str]]
    dev: list[tuple[str, str]]
    test: list[tuple[str, str]]
    packages: list[str]


class CorpusFiles(NamedTuple):
    """Where `write_corpus` put things."""

    text: Path
    train: Path
    dev: Path
    test: Path


def prose(text: str) -> str:
    """Paragraphs, one a line, each rejoined from its wrapped lines, without the rules under headings.

    Examples that begin with >>> are left out."""
    paragraphs = (" ".join(p.split()) for p in re.split(r"\n\s*\n", _RULE.sub("", text)))
    return "\n".join(p for p in paragraphs if p and not p.startswith(">>>"))


def read_docstrings(root: Path | None = None) -> Iterator[Docstring]:
    """Every docstring below `root` (default: the standard library), file after file in the order of their names."""
    root = root or Path(sysconfig.get_path("stdlib"))
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        if SKIPPED.intersection(parts) or parts[0].startswith("config-"):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, OSError):
            continue  # templates and files of other versions
        yield from _inside(tree, parts[0], ".".join(p for p in parts if p != "__init__"))


def _inside(node: ast.AST, package: str, document: str) -> Iterator[Docstring]:
    if isinstance(node, _OWNERS):
        text = prose(ast.get_docstring(node) or "")
        if text:
            yield Docstring(package, document, text)
    for child in ast.iter_child_nodes(node):
        inner = f"{document}.{child.name}" if isinstance(child, ast.ClassDef) else document
        yield from _inside(child, package, inner)


def read_topics(root: Path | None = None) -> list[str]:
    """The prose of the language reference that `help()` shows, one text a topic; empty where it is not installed."""
    file = (root or Path(sysconfig.get_path("stdlib"))) / "pydoc_data" / "topics.py"
    if not file.is_file():
        return []
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            topics = ast.literal_eval(node.value)
            return [prose(topics[name]) for name in sorted(topics)]
    return []


def gather(root: Path | None = None, *, packages: int = PACKAGES) -> Corpus:
    """The corpus of this Python, the same every time.

    The classes are the `packages` packages (folders) with most distinct docstrings of at least eight words.
    Raises InputError where the standard library's sources are not installed."""
    root = root or Path(sysconfig.get_path("stdlib"))
    found = list(read_docstrings(root))
    owners: dict[str, set[str]] = {}
    for d in found:
        owners.setdefault(d.text, set()).add(d.package)
    usable: dict[str, list[str]] = {}
    for text, names in owners.items():
        if len(names) == 1 and len(text.split()) >= WORDS and (root / (name := next(iter(names)))).is_dir():
            usable.setdefault(name, []).append(text)
    ranked = sorted(usable, key=lambda name: (-len(usable[name]), name))[:packages]
    if len(ranked) < packages or len(usable[ranked[-1]]) < 3 * LABELLED:
        raise InputError(
            f"{root}: the sources of the standard library are not here, or too few of them for the embedded corpus\n"
            "  next: use your own text: modeledge prepare FILES --out STORE"
        )
    train, dev, test = [], [], []
    for name in sorted(ranked):
        order = keyed("embedded corpus", name).permutation(len(usable[name]))
        rows = [(usable[name][i], name) for i in order]
        train += rows[:LABELLED]
        dev += rows[LABELLED : 2 * LABELLED]
        test += rows[2 * LABELLED : 2 * LABELLED + TESTED]
    held_out = {text for text, _ in dev + test}
    by_document: dict[str, list[str]] = {}
    for d in found:
        if d.text not in held_out:
            by_document.setdefault(d.document, []).append(d.text)
    texts = read_topics(root) + ["\n".join(dict.fromkeys(parts)) for parts in by_document.values()]
    everything = "\n".join(texts)  # a longer docstring may quote a shorter one
    dev, test = ([row for row in rows if row[0] not in everything] for rows in (dev, test))
    return Corpus(texts, train, dev, test, sorted(ranked))


def write_corpus(folder: str | Path) -> tuple[Corpus, CorpusFiles]:
    """Gather the corpus and write it: text.jsonl with the column `text`, and package.train.jsonl, package.dev.jsonl and
    package.test.jsonl with the columns `text` and `label`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)  # where nothing can be written, nothing need be gathered
    corpus = gather()
    files = CorpusFiles(folder / "text.jsonl", *(folder / f"package.{part}.jsonl" for part in ("train", "dev", "test")))
    _write(files.text, [{"text": text} for text in corpus.documents])
    for file, rows in zip(files[1:], (corpus.train, corpus.dev, corpus.test), strict=True):
        _write(file, [{"text": text, "label": label} for text, label in rows])
    return corpus, files


def _write(file: Path, rows: list[dict[str, str]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def describe(corpus: Corpus) -> str:
    """One line: documents, megabytes, classes, rows."""
    size = sum(len(text.encode()) for text in corpus.documents) / 1e6
    fewest = min(Counter(label for _, label in corpus.test).values())
    return (
        f"{len(corpus.documents):,} documents, {size:.1f} MB; {len(corpus.packages)} packages, "
        f"{LABELLED} labelled docstrings each, {len(corpus.test)} for testing (at least {fewest} a package)"
    )
