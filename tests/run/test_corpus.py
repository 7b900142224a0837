import inspect
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from modeledge.core import InputError
from modeledge.run import corpus


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A small standard library: two packages of 25 documented functions, a module, a test folder, topics."""
    for name in ("alpha", "beta"):
        folder = tmp_path / name
        folder.mkdir()
        body = "".join(
            f'def f{i}():\n    """Function {i} of {name} returns the number that its name ends with."""\n'
            for i in range(35)
        )
        (folder / "__init__.py").write_text(f'"""Package {name}."""\nraise SystemExit("executed")\n{body}')
    (tmp_path / "alone.py").write_text(
        'class Outer:\n    """Says something.\n\n    >>> Outer()\n    no prose\n    """\n    class Inner:\n'
        '        "Wrapped\n        text."\n'.replace('"Wrapped\n        text."', '"""Wrapped\n        text."""')
    )
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "hidden.py").write_text('"""Never gathered."""')
    (tmp_path / "pydoc_data").mkdir()
    (tmp_path / "pydoc_data" / "topics.py").write_text(
        "# generated\ntopics = {'b': 'Second topic\\n************\\n\\nwrapped.', 'a': 'First.'}"
    )
    return tmp_path


def test_a_document_is_a_topic_a_module_or_a_class(library):
    texts = corpus.gather(library, packages=2).documents
    assert texts[:2] == ["First.", "Second topic\nwrapped."]
    assert "Says something." in texts and "Wrapped text." in texts
    assert sum(t.startswith("Package alpha.") for t in texts) == 1
    assert not any("Never gathered" in t or ">>>" in t for t in texts)


def test_docstrings_for_testing_are_not_in_the_pre_training_text(library):
    found = corpus.gather(library, packages=2)
    assert Counter(label for _, label in found.train) == {"alpha": 10, "beta": 10}
    assert Counter(label for _, label in found.test) == {"alpha": 15, "beta": 15}
    everything = "\n".join(found.documents)
    assert Counter(label for _, label in found.dev) == {"alpha": 10, "beta": 10}
    assert not [text for text, _ in found.dev + found.test if text in everything]
    assert len({text for text, _ in found.train + found.dev + found.test}) == 70
    assert all(text in everything for text, _ in found.train)


def test_the_same_library_gives_the_same_corpus(library):
    assert corpus.gather(library, packages=2) == corpus.gather(library, packages=2)


def test_a_docstring_two_packages_share_is_not_labelled(library):
    shared = "\n".join(
        f'def g{i}():\n    """Shared sentence number {i} stands in both of the packages."""' for i in range(5)
    )
    for name in ("alpha", "beta"):
        with (library / name / "__init__.py").open("a") as out:
            out.write(shared)
    found = corpus.gather(library, packages=2)
    assert not [t for t, _ in found.train + found.test if t.startswith("Shared")]


def test_a_python_without_sources_is_an_input_error_that_names_the_next_step(tmp_path):
    with pytest.raises(InputError, match="modeledge prepare"):
        corpus.gather(tmp_path)


def test_prose_is_what_inspect_reads_without_executing_anything():
    root = Path(json.__file__).parents[1]
    found = {d.text for d in corpus.read_docstrings(root / "json")}
    for thing in (json.loads, json.JSONEncoder, json.decoder.JSONDecodeError):
        words = (inspect.getdoc(thing) or "").split()
        assert any(text.split() == words for text in found), thing


@pytest.mark.slow
def test_this_python_has_fourteen_packages_and_imports_none_of_them(tmp_path):
    before = set(sys.modules)
    found, files = corpus.write_corpus(tmp_path)
    assert len(found.packages) == 14 and len(found.train) == 140 and len(found.test) >= 14 * 10
    assert sum(map(len, found.documents)) > 1_000_000
    imported = {m.split(".")[0] for m in set(sys.modules) - before}
    assert not (imported - {"encodings"}) & set(found.packages)  # reading a file loads the codec it declares
    rows = [json.loads(line) for line in files.test.read_text(encoding="utf-8").splitlines()]
    assert rows == [{"text": t, "label": label} for t, label in found.test]
    everything = files.text.read_text(encoding="utf-8")
    assert not [t for t, _ in found.test if json.dumps(t, ensure_ascii=False)[1:-1] in everything]
