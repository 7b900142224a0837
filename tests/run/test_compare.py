"""Two toy recipes side by side at the same cost."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from modeledge.core import InputError, RecipeError
from modeledge.run import compare as comparing
from modeledge.run.compare import Comparison, compare
from modeledge.run.question import Question, Tuning

TOY = ["backbone.width=16", "backbone.layers=1", "backbone.heads=2", "backbone.ffn.width=32", "loop.batch=8"]
TOY += ["data.text={kind: full_sentences, length: 32}", "tokenizer.vocab=200", "loop.precision=fp32"]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    for name, weight in (("slow", 1.0), ("fast", 2.0)):
        keys = f"objectives: [{{kind: mlm, weight: {weight}}}]\noptim: {{lr: {weight}e-3}}"
        (folder / f"{name}.yaml").write_text(f"extends: bert\n{keys}\n")
    return [str(folder / "slow.yaml"), str(folder / "fast.yaml")]


@pytest.fixture(scope="module")
def question(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    for name, n in (("train", 40), ("valid", 20)):
        pets = rng.choice(["cat", "dog"], n)
        rows = [{"text": f"The {pet} sees the house.", "label": str(pet)} for pet in pets]
        (folder / f"x.{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return Question("classify", folder / "x.train.jsonl", name="pets")


def run(recipes, corpus, out, **more):
    return compare(recipes, data=[str(corpus)], out=out, sets=TOY, seeds=2, quiet=True, **more)


@pytest.mark.contract
def test_recipes_spend_the_same_operations_and_are_judged_alike(recipes, corpus, question, tmp_path):
    options = {"questions": [question], "tuning": Tuning(most=2)}
    found = run(recipes, corpus, tmp_path, budget="2e8flop", **options)
    spent = [cell["flop"] for row in found.rows for cell in row["cells"]]
    assert max(spent) <= 2e8 and min(spent) > 1.2e8  # whole steps only
    assert found.measures == ["pets", "held-out mlm"]
    by_hand = np.mean([cell["values"]["pets"] for cell in found.rows[0]["cells"]])
    assert found.mean(found.rows[0], "pets").mean == pytest.approx(by_hand)
    told = json.loads((tmp_path / "comparison.json").read_text())
    assert [r["recipe"] for r in told["recipes"]] == ["slow", "fast"]
    assert (tmp_path / "comparison.md").read_text().count("\n") == 4
    assert (tmp_path / "comparison.svg").read_text().startswith("<svg")
    assert len(list((tmp_path / "stores").iterdir())) == 1  # one tokenizer, one store


@pytest.mark.contract
def test_a_comparison_goes_on_where_it_was_stopped(recipes, corpus, tmp_path, monkeypatch):
    first = run(recipes, corpus, tmp_path, budget="2steps")
    ledger = tmp_path / "cells.jsonl"
    kept = ledger.read_text().splitlines()
    ledger.write_text("\n".join(kept[:3]) + "\n")
    monkeypatch.setattr(comparing, "run_job", lambda job: pytest.fail("trained again"))
    assert run(recipes, corpus, tmp_path, budget="2steps").rows == first.rows
    assert len(ledger.read_text().splitlines()) == 4


@pytest.mark.contract
def test_other_data_is_another_comparison(recipes, corpus, question, tmp_path):
    data = tmp_path / "text.jsonl"
    data.write_bytes(corpus.read_bytes())
    options = {"budget": "2steps", "tuning": Tuning(most=2)}
    first = run(recipes, data, tmp_path, questions=[question], **options)
    data.write_text(data.read_text().replace("river", "desert").replace("garden", "river"))
    other = run(recipes, data, tmp_path, questions=[question], **options)
    assert other.rows[0]["cells"][0]["losses"] != first.rows[0]["cells"][0]["losses"]
    table = tmp_path / "y.train.jsonl"  # the same model asked of other rows
    table.write_text(question.data.read_text().replace("sees", "hears"))
    table.with_name("y.valid.jsonl").write_text('{"text": "The cat hears.", "label": "cat"}\n')
    last = run(recipes, data, tmp_path, questions=[Question("classify", table, name="pets")], **options)
    assert last.rows[0]["cells"][0]["losses"] == other.rows[0]["cells"][0]["losses"]
    assert last.rows[0]["cells"][0]["values"]["pets"] in (0.0, 1.0)


@pytest.mark.parametrize("change", [{"columns": {"label": "lable"}}, {"task": "clasify"}, {"valid": "no.jsonl"}])
def test_what_is_wrong_with_a_question_is_told_before_anything_is_trained(
    recipes, corpus, question, tmp_path, monkeypatch, change
):
    monkeypatch.setattr(comparing, "run_job", lambda job: pytest.fail("trained"))
    with pytest.raises(InputError):
        run(recipes, corpus, tmp_path, questions=[replace(question, **change)])
    alone = tmp_path / "alone.jsonl"
    alone.write_text(question.data.read_text())
    with pytest.raises(InputError, match="no held-out rows"):
        run(recipes, corpus, tmp_path, questions=[Question("classify", alone)])


@pytest.mark.contract
@pytest.mark.parametrize(("objective", "length"), [("clm", 32), ("mlm, rate: 0.4", 32), ("mlm", 16)])
def test_losses_that_mean_other_things_are_shown_but_not_compared(corpus, tmp_path, objective, length):
    for name, kind, tokens in (("a", "mlm", 32), ("b", objective, length)):
        data = f"data: {{text: {{kind: full_sentences, length: {tokens}}}}}"
        (tmp_path / f"{name}.yaml").write_text(f"extends: bert\nobjectives: [{{kind: {kind}}}]\n{data}\n")
    recipes = [str(tmp_path / f"{name}.yaml") for name in "ab"]
    sets = [s for s in TOY if not s.startswith("data")]
    found = compare(recipes, data=[str(corpus)], out=tmp_path, sets=sets, seeds=1, budget="1steps", quiet=True)
    assert found.measures == [] and all(k in str(found) for k in ("mlm", objective[:3]))


def test_questions_of_one_name_and_a_single_recipe_are_refused(recipes, corpus, question, tmp_path):
    with pytest.raises(RecipeError, match="both called 'pets'"):
        run(recipes, corpus, tmp_path, questions=[question, question])
    with pytest.raises(RecipeError, match="two different recipes"):
        run(recipes[:1], corpus, tmp_path)


def test_a_difference_is_marked_only_where_it_is_sure():
    def row(name, values):
        return {"recipe": name, "cells": [{"seed": s, "values": {"q": v}} for s, v in enumerate(values)]}

    rows = [row("a", [0.5, 0.6, 0.7]), row("b", [0.6, 0.7, 0.81]), row("c", [0.9, 0.2, 0.7])]
    found = Comparison(None, "", ["q"], rows)
    assert [found.shown(r, "q").startswith("**") for r in rows] == [False, True, False]
