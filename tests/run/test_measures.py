"""Measures of a trained toy against figures that are known otherwise."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modeledge.core import RecipeError
from modeledge.data.store import Store
from modeledge.recipe.resolve import resolve
from modeledge.run.measures import HeldOut, Parameters, Task, Trained, Translations

pytestmark = pytest.mark.contract  # whole stories of verbs


@pytest.fixture
def trained(train, text_store, toy, tmp_path):
    outcome = train(steps=3)
    tree = resolve("bert", sets=[*toy, "loop.steps=3"])
    stores = {"text": Store.open(text_store)}
    made = Trained("bert", (), tree, tmp_path / "run", stores, 0, {}, {}, lambda name: tmp_path / name, "cpu")
    return outcome, made


def test_a_held_out_loss_is_that_of_the_run_itself(trained):
    outcome, made = trained
    known = outcome.done.result.valid["mlm"]
    measure = HeldOut(kind="held_out", figure="mlm", batches=16)
    assert measure.take(made, {}) == pytest.approx(known, abs=0.15)  # other masks on the same rows
    with pytest.raises(RecipeError, match=r"mlm\.accuracy"):
        HeldOut(kind="held_out", figure="mlm.acuracy").take(made, {})


def test_another_view_is_judged_on_the_same_weights_and_training_goes_on_from_them(trained):
    _, made = trained
    always = ("objectives=[{kind: mlm, replace: [0.0, 0.0]}]",)  # nothing is hidden
    plain = HeldOut(kind="held_out", figure="mlm").take(made, {})
    sets = (*always, "optim.lr=1e-2", "schedule=constant")
    taught = HeldOut(kind="held_out", figure="mlm", sets=sets, budget="60steps").take(made, {})
    assert taught < HeldOut(kind="held_out", figure="mlm", sets=always).take(made, {}) - 0.3
    assert plain != pytest.approx(taught)


@pytest.mark.contract
def test_a_task_takes_the_settings_of_the_arm_and_the_best_rate(trained, tmp_path):
    rng = np.random.default_rng(0)
    for name, n in (("train", 60), ("valid", 20)):
        pets = rng.choice(["cat", "dog"], n)
        lines = (json.dumps({"text": f"The {p} sees the house.", "kind": str(p)}) + "\n" for p in pets)
        (tmp_path / f"x.{name}.jsonl").write_text("".join(lines))
    keys = {"kind": "task", "task": "classify", "data": "x.train.jsonl", "columns": {"label": "kind"}, "length": 16}
    measure = Task.model_validate({**keys, "tuning": {"most": 1}, "rates": [1e-9, 1e-2]})
    made = trained[1]
    made.tuning = {"most": 40, "least": 40, "batch": 16}
    chosen = measure.choose(made)
    assert chosen["lr"] == 1e-2 and set(chosen["tried"]) == {"1e-09", "0.01"}
    assert measure.take(made, chosen) == 1.0
    assert measure._asked(made)[1].sets == ("loop.precision=fp32",)  # that of the arm


def test_a_sentence_finds_itself_among_translations(trained, tmp_path):
    nouns, verbs = ["dog", "cat", "bird", "fish"], ["sees", "hears", "likes"]
    texts = [f"The {a} {v} the {b}." for a in nouns for v in verbs for b in nouns]
    rows = [{"en": t, "same": t, "other": texts[-n - 1]} for n, t in enumerate(texts)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    asked = {"kind": "translations", "file": "p.jsonl", "first": "en"}
    assert Translations.model_validate({**asked, "second": "same"}).take(trained[1], {}) == 1.0
    assert Translations.model_validate({**asked, "second": "other"}).take(trained[1], {}) == 0.0


def test_parameters_are_those_of_the_paper_not_of_the_toy(trained):
    assert Parameters(kind="parameters").take(trained[1], {}) == 109_482_240
