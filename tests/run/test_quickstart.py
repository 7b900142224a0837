import json
import random
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from modeledge.analysis.intervals import Interval
from modeledge.core import InputError
from modeledge.interop import Check
from modeledge.run import corpus, port, quickstart
from modeledge.run.pretrain import pretrain
from modeledge.run.quickstart import told_gain


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A standard library in small: two packages whose docstrings differ in their words, and prose to train on."""
    words = {"alpha": "reads one line from the open socket", "beta": "draws another widget on the main window"}
    for name, text in words.items():
        folder = tmp_path / "lib" / name
        folder.mkdir(parents=True)
        body = "".join(f'def f{i}():\n    """Function number {i} {text} and returns."""\n' for i in range(60))
        (folder / "__init__.py").write_text(f'"""Package {name}."""\n{body}')
    rng = random.Random(0)
    said = " ".join(words.values()).split()
    topics = {f"t{i}": " ".join(f"{' '.join(rng.choices(said, k=9))}." for _ in range(30)) for i in range(75)}
    (tmp_path / "lib" / "pydoc_data").mkdir()
    (tmp_path / "lib" / "pydoc_data" / "topics.py").write_text(f"topics = {topics!r}")
    return tmp_path / "lib"


@pytest.mark.contract
def test_the_story_runs_from_sources_to_report(library, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(corpus, "gather", partial(corpus.gather, library, packages=2))
    monkeypatch.setattr(quickstart, "EPOCHS", 1.0)
    monkeypatch.setattr(quickstart, "RATES", {"pre-trained": (1e-3,), "from scratch": (2e-3,)})
    monkeypatch.setattr(port, "check", lambda folder: Check(None, "not here"))  # the slow test compares
    monkeypatch.setattr(quickstart, "pretrain", lambda *a, **k: pretrain(*a, **{**k, "budget": "2steps"}))
    out = tmp_path / "out"
    story = quickstart.quickstart(out, seeds=2, size="tiny")
    assert json.loads(json.dumps(story))["pretraining"]["steps"] == 2
    assert [row["name"] for row in story["comparison"]["rows"]] == ["pre-trained", "from scratch"]
    assert all(len(row["scores"]) == 2 and 0 <= row["mean"] <= 1 for row in story["comparison"]["rows"])
    assert len(story["samples"]) == 3 and all("[MASK]" in s["text"] for s in story["samples"])
    page = (out / "run" / "report.html").read_text()
    assert "Which package does a docstring belong to?" in page and "Filled masks" in page
    assert (out / "hf" / "model.safetensors").is_file() and story["export"]["type"] == "roberta-prelayernorm"
    printed = capsys.readouterr().out
    assert "modeledge pretrain bert" in printed.splitlines()[-2] and "accuracy" in printed
    with pytest.raises(InputError, match="already something here"):
        quickstart.quickstart(out)


def test_the_story_ends_where_a_training_is_stopped(tmp_path, monkeypatch):
    stopped = SimpleNamespace(exit_code=130, values=dict)
    monkeypatch.setattr(corpus, "write_corpus", lambda folder: (None, SimpleNamespace(text=folder)))
    monkeypatch.setattr(corpus, "describe", str)
    monkeypatch.setattr(quickstart, "prepare_store", lambda *a, **k: SimpleNamespace(lines=list))
    monkeypatch.setattr(quickstart, "pretrain", lambda *a, **k: stopped)
    with pytest.raises(SystemExit, match="130"):
        quickstart.quickstart(tmp_path / "out", quiet=True)
    monkeypatch.setattr(quickstart, "finetune", lambda *a, **k: stopped)
    with pytest.raises(SystemExit, match="130"):
        quickstart.contend(None, SimpleNamespace(train="a", dev="b", test="c"), seeds=2, say=print)


def test_a_gain_is_told_whichever_way_it_went():
    assert "helped" in told_gain(Interval(0.1, 0.05, 5)) and "hurt" in told_gain(Interval(-0.1, 0.05, 5))
    assert "no sure difference" in told_gain(Interval(0.1, 0.2, 5))
    assert "no evidence" in told_gain(Interval(0.1, float("nan"), 1))


@pytest.mark.slow
def test_half_a_minute_on_the_real_corpus_learns_something(tmp_path):
    transformers = pytest.importorskip("transformers")
    story = quickstart.quickstart(tmp_path / "out", seconds=20, seeds=1, size="tiny", quiet=True)
    assert story["pretraining"]["held out mlm"] < 8.0  # 8.3 is the cost of knowing nothing
    assert max(row["mean"] for row in story["comparison"]["rows"]) > 2 / 14
    kind = transformers.RobertaPreLayerNormForMaskedLM
    model, info = kind.from_pretrained(tmp_path / "out" / "hf", output_loading_info=True)
    assert not info["missing_keys"] and all("pooler" in key for key in info["unexpected_keys"])
