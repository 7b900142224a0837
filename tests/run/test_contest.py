"""Contests: who sees which rows, what is done once, what the table says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modeledge.analysis.intervals import interval
from modeledge.core import DataError
from modeledge.data.readers import Wanted
from modeledge.run import contest as contests
from modeledge.run import rates
from modeledge.run.contest import Contender, Contest, markdown
from modeledge.run.keep import load_model
from modeledge.run.question import Question, Tuning
from modeledge.run.rates import best_rate, shares

pytestmark = pytest.mark.contract  # whole stories of verbs

TEXT = Wanted({"text": (str,)})


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = [{"text": f"{i} {rng.choice(['cat', 'dog'])}"} for i in range(80)]
    rows = [r | {"label": r["text"][-3:]} for r in rows]
    folder = tmp_path_factory.mktemp("tables")
    for name, part in (("train", rows[:60]), ("valid", rows[60:])):
        (folder / f"x.{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in part))
    return folder / "x.train.jsonl"


@pytest.fixture(scope="module")
def loaded(text_store, tmp_path_factory):
    from modeledge.run.pretrain import pretrain

    trunk = ["backbone.width=16", "backbone.layers=1", "backbone.heads=2", "backbone.ffn.width=16"]
    rows = ["data.text={kind: full_sentences, length: 32}", "objectives=[{kind: mlm}]", "loop.precision=fp32"]
    out = tmp_path_factory.mktemp("models") / "m"
    sets = [*trunk, *rows, "loop.batch=8", "loop.steps=1"]
    pretrain("bert", data=[str(text_store)], out=out, sets=sets, quiet=True)
    return load_model(out)


def test_a_rate_is_told_on_a_tenth_of_the_training_rows_that_is_not_trained_on(table):
    rest = shares(table)
    trained, judged = ({r.value["text"] for r in part.read(TEXT)} for part in (rest, rest.valid))
    assert len(judged) == 6 and len(trained) == 54 and not trained & judged
    assert {r.value["text"] for r in shares(table).read(TEXT)} == trained


def test_too_few_rows_to_choose_on_are_refused(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text('{"text": "a"}\n' * 9)
    with pytest.raises(DataError, match="too few to choose a learning rate"):
        shares(file).read(TEXT)


def test_the_best_rate_is_the_one_with_the_best_mean_over_trials(loaded, table, monkeypatch):
    asked = []

    class Tried:
        exit_code = 0

        def __init__(self, lr, seeds):
            self.lr, self.seeds = lr, seeds

        def values(self):
            return {s: {1e-3: 0.5, 1e-2: 0.6}[self.lr] + 0.001 * i for i, s in enumerate(self.seeds)}

    def stand_in(loaded, question, tuning, *, seeds, **other):
        asked.append((question.valid, list(seeds), other["device"]))
        return Tried(tuning.lr, seeds)

    monkeypatch.setattr(rates, "finetune", stand_in)
    rate, tried = best_rate(loaded, Question("classify", table), Tuning(), (1e-3, 1e-2), trials=3, device="cpu")
    assert rate == 1e-2 and tried == {1e-3: pytest.approx(0.501), 1e-2: pytest.approx(0.601)}
    assert all(valid is None and seeds[0] > 1e6 and len(seeds) == 3 for valid, seeds, _ in asked)


def make(loaded, table, out, **more):
    tuning = Tuning(most=2, batch=8)
    who = [
        Contender("fresh", loaded, Tuning(most=2, batch=8, scratch=True), (1e-3,)),
        Contender("ours", loaded, tuning, (1e-3, 1e-4)),
    ]
    question = Question("classify", table, metric="accuracy", name="pets")
    return Contest(who, [question], out, **{"labels": [16], "seeds": 2, **more})


@pytest.mark.contract
def test_a_contest_is_done_once_and_goes_on_where_it_was_stopped(loaded, table, tmp_path, monkeypatch):
    said = []
    first = make(loaded, table, tmp_path, seeds=1).run(said.append)
    assert len(said) == 2 and len(first["rows"]) == 1
    calls, real = [], contests.finetune

    def counted(*arguments, **options):
        calls.append(options["seeds"])
        return real(*arguments, **options)

    monkeypatch.setattr(contests, "finetune", counted)
    monkeypatch.setattr(contests, "best_rate", lambda *a, **k: pytest.fail("the rate was chosen before"))
    more = make(loaded, table, tmp_path).run(said.append)
    assert calls == [[1]] * 2
    for old, new in zip(first["rows"], more["rows"], strict=True):
        assert all(new["values"][w][0] == old["values"][w][0] for w in ("fresh", "ours"))
    calls.clear()
    assert make(loaded, table, tmp_path).run(said.append)["rows"] == more["rows"] and not calls


@pytest.mark.contract
def test_the_table_gives_every_mean_and_the_paired_gain(loaded, table, tmp_path, monkeypatch):
    monkeypatch.setattr(contests, "best_rate", lambda *a, **k: (1e-3, {1e-3: 0.5}))
    made = make(loaded, table, tmp_path, labels=[None, 16]).run(lambda text: None)
    row = made["rows"][0]
    by_hand = interval(list(row["values"]["ours"].values()))
    assert row["mean"]["ours"] == by_hand.as_dict()
    pairs = [row["values"]["ours"][s] - row["values"]["fresh"][s] for s in (0, 1)]
    assert row["gain"]["ours"]["mean"] == pytest.approx(np.mean(pairs))
    assert json.loads((tmp_path / "table.json").read_text())["rows"][1]["labels"] == 16
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0] == "| question | metric | labels | fresh | ours | ours - fresh |" and len(lines) == 4


def test_another_way_of_teaching_is_another_cell(loaded, table, tmp_path):
    who, other = make(loaded, table, tmp_path).contenders, make(loaded, table, tmp_path)
    key = other.key(who[1], other.questions[0], None)
    changed = Contender("ours", loaded, Tuning(most=3, batch=8), (1e-3, 1e-4))
    assert other.key(changed, other.questions[0], None) != key


def test_sure_gains_are_bold_and_others_are_not():
    low, high = interval([0.5, 0.52, 0.51]), interval([0.1, 0.12, 0.11])
    unsure = interval([-0.1, 0.12, 0.0])
    row = {"question": "q", "metric": "accuracy", "labels": None, "mean": {"a": low, "b": low, "c": low}}
    text = markdown([row | {"gain": {"b": high, "c": unsure}}], ["a", "b", "c"])
    assert "| 51.0 ± 2.5 |" in text and "**+11.0 ± 2.5**" in text and "| +0.7 ± 27.4 |" in text
