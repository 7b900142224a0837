"""One encoder taught several tasks at once: MT-DNN's recipe on tables, from a model that was pre-trained."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from modeledge.core import InputError
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.keep import load_model
from modeledge.run.predict import evaluate_model, predict
from modeledge.run.pretrain import pretrain

pytestmark = pytest.mark.contract  # whole stories of verbs

SMALL = ["backbone.width=32", "backbone.layers=1", "backbone.heads=2", "backbone.ffn.width=64", "backbone.dropout=0"]
SMALL += ["backbone.attention.dropout=0", "loop.precision=fp32", "loop.batch=8", "optim.lr=2e-3"]
SMALL += [f"data.{name}.length=32" for name in ("sentence", "pair", "similarity", "ranking")]
NOUNS, PLACES = ["dog", "cat", "bird", "fish", "horse"], ["garden", "house", "river", "field"]


def said(noun, place):
    return f"The {noun} sees the {noun} in the {place}."


def tables(folder, rows):
    """Rows a task: the place of a text; do two texts speak of one place; how many of two words they share; which option
    speaks of the same animal."""
    rng, made = np.random.default_rng(0), {name: [] for name in rows}
    for name, count in rows.items():
        for _ in range(count):
            a, b = rng.choice(NOUNS, 2, replace=False), rng.choice(PLACES, 2)
            right = int(rng.integers(2))
            options = [said(a[i == right], rng.choice(PLACES)) for i in (1, 0)][::-1]
            made[name].append({
                "sentence": {"text": said(a[0], b[0]), "label": b[0]},
                "pair": {"text": said(a[0], b[0]), "second": said(a[1], b[1]), "label": "ny"[int(b[0] == b[1])]},
                "similarity": {"text": said(a[0], b[0]), "second": said(a[0], b[1]), "label": 1.0 + (b[0] == b[1])},
                "ranking": {"text": said(a[1], b[0]), "choices": options, "label": right},
            }[name])  # fmt: skip
        half = count // 2
        for split, part in (("train", made[name][:half]), ("valid", made[name][half:])):
            (folder / f"{name}.{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in part))
    return [f"{name}={folder / name}.train.jsonl" for name in rows]


@pytest.mark.slow
def test_every_task_is_taught_judged_and_asked_by_its_name(train, tmp_path):
    train("bert", steps=2, sets=["data.text={kind: segment_pair, length: 32}", *SMALL[:2]])
    data = tables(tmp_path, {"sentence": 160, "pair": 80, "similarity": 48, "ranking": 32})
    out, bert = tmp_path / "many", tmp_path / "bert"
    done = pretrain("mtdnn", data=data, init=bert, out=out, sets=[*SMALL, "loop.steps=24"], quiet=True).done
    model = load_model(out)
    assert model.facts.labels == {"sentence": sorted(PLACES), "pair": ["n", "y"], "ranking": ["0", "1"]}
    for task in ("sentence", "pair", "ranking"):  # what the loop measured on the same rows
        found = evaluate_model(model, tmp_path / f"{task}.valid.jsonl", task=task)["accuracy"]
        assert found == pytest.approx(done.result.valid[f"{task}.accuracy"])
    assert evaluate_model(model, tmp_path / "sentence.valid.jsonl")  # the first, if none is named
    assert np.isfinite(evaluate_model(model, tmp_path / "similarity.valid.jsonl", task="similarity")["mse"])
    answers = predict(model, texts=[(said("dog", "house"), said("cat", "house"))], task="pair")
    assert answers[0]["label"] in ("n", "y")
    alone = Question("classify_pair", tmp_path / "pair.train.jsonl", columns={"second": "second"})
    figures = finetune(bert, alone, Tuning(most=2), quiet=True).figures[0]
    assert 0 <= figures["accuracy"] <= 1
    with pytest.raises(InputError, match="both: for classify and regress"):
        finetune(bert, replace(alone, orders="both"), Tuning(most=2), quiet=True)
    with pytest.raises(InputError, match="--init FOLDER"):
        pretrain("mtdnn", data=data, out=tmp_path / "bare", sets=SMALL, quiet=True)


def test_the_heads_of_other_tasks_get_no_gradient_and_do_not_move(train, tmp_path):
    """Batches follow a shuffled union; Adamax leaves alone what had no gradient, its moments included."""
    train("bert", steps=2, sets=["data.text={kind: segment_pair, length: 32}", *SMALL[:2]])
    data = tables(tmp_path, {"sentence": 160, "pair": 80, "similarity": 48, "ranking": 32})
    steps = {"one": 1, "two": 2}
    states = {}
    for out, count in steps.items():
        sets = [*SMALL, f"loop.steps={count}", "schedule=constant"]
        done = pretrain("mtdnn", data=data, init=tmp_path / "bert", out=tmp_path / out, sets=sets, quiet=True).done
        states[out] = {n: p.detach().clone() for n, p in done.model.named_parameters()}
    moved = {n.split(".")[1] for n in states["one"] if n.startswith("objectives.")
             and not torch.equal(states["one"][n], states["two"][n])}  # fmt: skip
    assert len(moved) == 1
    assert any(not torch.equal(states["one"][n], states["two"][n]) for n in states["one"] if n.startswith("backbone."))
