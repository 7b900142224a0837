"""Asking a table's rows with examples in the prompt, from the command line: which examples, which options, errors."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modeledge.core import keyed
from modeledge.run.few_shot import few_shot
from modeledge.run.in_context import choose
from modeledge.run.keep import load_model
from modeledge.run.pretrain import pretrain

pytestmark = pytest.mark.contract  # whole stories of verbs

ROWS = [
    {"text": f"the {a} sees", "right": b, "wrong": c, "answer": "right", "label": int(b == "house")}
    for a, b, c in zip(
        ["dog", "cat", "bird", "fish"] * 3,
        ["house", "river", "garden", "house"] * 3,
        ["field", "cat", "bird", "dog"] * 3,
        strict=True,
    )
]


@pytest.fixture(scope="module")
def folder(corpus, tmp_path_factory):
    home = tmp_path_factory.mktemp("gpt2")
    trunk = ["backbone.width=32", "backbone.layers=1", "backbone.heads=2", "backbone.ffn.width=64"]
    sets = [*trunk, "tokenizer.vocab=400", "data.text.length=32", "backbone.positions.max=200", "loop.batch=8"]
    pretrain(
        "gpt2", data=[str(corpus)], out=home / "run", sets=[*sets, "loop.steps=3", "loop.precision=fp32"], quiet=True
    )
    (home / "x.train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS[:6]))
    (home / "x.valid.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS[6:]))
    return home


@pytest.fixture
def evaluate(command, folder):
    """evaluate(file, ...) -> (exit code, figures, what was complained about)."""

    def call(file, *words, model="run"):
        code, out, err = command("evaluate", folder / model, "--data", folder / file, *words, "--json")
        return code, json.loads(out) if code == 0 else {}, err

    return call


@pytest.mark.parametrize("by", ["length", "total", "prior"])
def test_figures_are_those_of_choosing_by_hand(evaluate, folder, by):
    columns = ["--column", "choices=right,wrong", "--column", "label=answer"]
    code, figures, _ = evaluate("x.train.jsonl", "--shots", 2, "--by", by, *columns)
    drawn = [ROWS[:6][i] for i in keyed(0, "shots").permutation(6)[:2]]
    shots = [(r["text"], r["right"]) for r in drawn]
    options = [[r["right"], r["wrong"]] for r in ROWS[6:]]
    chosen = choose(load_model(folder / "run"), [r["text"] for r in ROWS[6:]], options, shots=shots, by=by)
    right = np.mean([c.option == 0 for c in chosen])
    assert code == 0 and figures == {"accuracy": right, "chance": 0.5, "shots": 2.0, "n": 6.0}


def test_without_examples_the_classes_are_the_options_by_their_names(evaluate, folder):
    names = {"0": "river", "1": "house"}
    code, figures, _ = evaluate("x.valid.jsonl", "--shots", 0, "--name", "0=river", "--name", "1=house")
    options = [["river", "house"]] * 6
    chosen = choose(load_model(folder / "run"), [r["text"] for r in ROWS[6:]], options)
    right = np.mean([c.option == r["label"] for c, r in zip(chosen, ROWS[6:], strict=True)])
    assert code == 0 and figures["accuracy"] == right and figures["shots"] == 0
    assert few_shot(load_model(folder / "run"), folder / "x.valid.jsonl", shots=0, names=names)["accuracy"] == right


@pytest.mark.parametrize(
    ("file", "words", "told"),
    [
        ("x.valid.jsonl", ["--shots", 2], "--shots 0"),
        ("x.train.jsonl", ["--shots", -1], "greater than or equal to 0"),
        ("x.train.jsonl", ["--shots", 1, "--by", "lenght"], "did you mean 'length'"),
        ("x.train.jsonl", ["--shots", 1, "--name", "2=river"], "no class named '2'"),
        ("x.train.jsonl", ["--shots", 1, "--task", "loss"], "leave out one of the two"),
    ],
)
def test_what_cannot_be_asked_is_said_with_the_next_step(evaluate, file, words, told):
    code, _, said = evaluate(file, *words)
    assert code == 2 and told in said and "Traceback" not in said


def test_a_model_that_does_not_write_left_to_right_is_refused(train, tmp_path, evaluate, folder):
    train(steps=2)
    code, _, said = evaluate("x.train.jsonl", "--shots", 1, model=tmp_path / "run")
    assert code == 2 and "not a causal language model" in said
