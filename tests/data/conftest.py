"""A word-level tokenizer that splits at blanks, and files in every format that is read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from modeledge.core import find

SENTENCES = [
    "The committee met again on Tuesday.",
    "Nobody had read the report.",
    "Mr. Brown asked why.",
    "She said that it was late, and left!",
    "Was there anything else?",
    "The river ran high after the rain.",
    "A small boat drifted past the mill.",
    "Its owner had gone to market.",
]


def make_document(number: int) -> str:
    """A document of a few sentences; no two numbers give the same one."""
    chosen = [SENTENCES[(number * 3 + i * (number % 5 + 1)) % len(SENTENCES)] for i in range(3 + number % 4)]
    return " ".join(chosen) + f" This was number {number}."


@pytest.fixture(scope="session")
def document():
    """The document of a number."""
    return make_document


@pytest.fixture(scope="session")
def tokenizer():
    part = find("tokenizers", "wordpiece")
    made = part(part.Config(kind="wordpiece", vocab=300))
    return made.train(iter([make_document(n) for n in range(60)] + ["今天天气很好。我们去公园散步。"]))


@pytest.fixture
def write(tmp_path):
    """Write documents as a file of the format its name ends in; the path."""

    def make(name: str, documents: list[str]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = path.name.removesuffix(".gz").removesuffix(".zst")
        if plain.endswith(".parquet"):
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.table({"text": documents, "n": list(range(len(documents)))}), path)
            return path
        if plain.endswith(".txt"):
            content = "\n".join(documents) + "\n"
        elif plain.endswith((".csv", ".tsv")):
            gap = "," if plain.endswith(".csv") else "\t"
            content = f"n{gap}text\n" + "".join(f'{n}{gap}"{d}"\n' for n, d in enumerate(documents))
        else:
            content = "".join(json.dumps({"n": n, "text": d}) + "\n" for n, d in enumerate(documents))
        data = content.encode()
        if path.suffix == ".gz":
            data = gzip.compress(data, mtime=0)
        elif path.suffix == ".zst":
            import zstandard

            data = zstandard.compress(data)
        path.write_bytes(data)
        return path

    return make
