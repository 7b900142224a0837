"""Every optional package that is missing is one line: what needs it, and the command that installs it."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from modeledge.core import InputError
from modeledge.data.readers import Wanted, read

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PACKAGE = {"PIL": "pillow", "sklearn": "scikit-learn", "rouge_score": "rouge-score"}


def reading(name: str) -> Callable[[Path], object]:
    """Reads a file of that name, whatever is in it."""

    def use(folder: Path) -> object:
        (folder / name).write_bytes(b"some bytes")
        return list(read(folder / name, Wanted({"text": (str,)}), Counter()))

    return use


def pictures(folder: Path) -> object:
    from modeledge.data._pixels import pillow

    return pillow()


def bleu(folder: Path) -> object:
    from modeledge.analysis.generated import bleu

    return bleu(["a text"], [["a text"]])


def rouge(folder: Path) -> object:
    from modeledge.analysis.generated import rouge

    return rouge(["a text"], [["a text"]])


def entities(folder: Path) -> object:
    from modeledge.analysis.entities import tagging

    return tagging([["B-X", "O"]], [["B-X", "O"]], names=["O", "B-X", "I-X"])


NEEDS = {
    "zstandard": reading("x.jsonl.zst"),
    "pyarrow": reading("x.parquet"),
    "PIL": pictures,
    "sacrebleu": bleu,
    "rouge_score": rouge,
    "seqeval": entities,
}
DOES_WITHOUT = {
    "jieba": "Chinese words are then the tokenizer's pieces (tests/data)",
    "matplotlib": "a report then has tables (tests/run/test_report.py)",
    "transformers": "an export then says that it was not compared (below)",
}


@pytest.mark.parametrize("module", NEEDS)
def test_a_missing_package_is_one_message_with_the_command_that_installs_it(module, tmp_path, monkeypatch):
    for name in [m for m in sys.modules if m.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError) as found:
        NEEDS[module](tmp_path)
    text = str(found.value)
    package = PACKAGE.get(module, module)
    (extra,) = [name for name in EXTRAS if f"pip install 'modeledge[{name}]'" in text]
    assert any(line.startswith(package) for line in EXTRAS[extra]), f"{package} is not in the extra {extra}"
    assert package in text and len(text.splitlines()) <= 3


def test_a_check_without_transformers_says_that_it_was_not_made(monkeypatch, tmp_path):
    from modeledge.interop._check import compare

    monkeypatch.setitem(sys.modules, "transformers", None)
    check = compare(tmp_path, None, None, seed=0)
    assert check.difference is None and "pip install 'modeledge[hf]'" in check.reason


def test_every_optional_package_the_sources_import_is_covered_here():
    known = {
        package_of(line) for extra in ("data", "track", "eval", "report", "vision", "hf") for line in EXTRAS[extra]
    }
    used = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "need":
                names.append(node.args[0].value)
            used |= {n.split(".")[0] for n in names}
    optional = {m for m in used if PACKAGE.get(m, m) in known}
    assert optional == set(NEEDS) | set(DOES_WITHOUT)


def package_of(line: str) -> str:
    """pyarrow of "pyarrow>=21"."""
    return line.split(">")[0].split("=")[0].split("<")[0].strip()
