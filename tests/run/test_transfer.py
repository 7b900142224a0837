"""A model that has read before is taught a task in two ways: with all of its weights, or by its features alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from modeledge.recipe.schema import check
from modeledge.run.checkpoint import own_tensors
from modeledge.run.embed import embed
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.keep import load_model
from modeledge.run.model import make_model
from modeledge.run.predict import predict
from modeledge.run.pretrain import pretrain
from modeledge.run.setting import Setting

ANIMALS, TOOLS = [f"beast{c}" for c in "abcdefgh"], [f"gadget{c}" for c in "abcdefgh"]
TAUGHT = slice(0, 4)
"""The words of each class that have labels to train on."""
SMALL = ["loop.precision=fp32", "loop.batch=16"]
BERT = [
    *SMALL,
    "tokenizer={kind: word, vocab: 100, least: 1}",
    "data.text={kind: doc_sentences, length: 32}",
    "objectives=[{kind: mlm, select: count}]",
    "backbone.width=32",
    "backbone.layers=2",
    "backbone.heads=2",
    "backbone.ffn.width=64",
    "backbone.dropout=0.0",
    "backbone.attention.dropout=0.0",
    "backbone.pool=null",
]


def sentence(rng, words):
    """What is said of an animal is never said of a tool."""
    word = str(rng.choice(words))
    if word in ANIMALS:
        return f"the {word} {rng.choice(['eats', 'sleeps', 'runs'])} in the {rng.choice(['wood', 'field'])} ."
    return f"the {word} {rng.choice(['cuts', 'turns', 'breaks'])} on the {rng.choice(['bench', 'shelf'])} ."


def vague(rng, words):
    """What is said of everything alike."""
    return f"we saw the {rng.choice(words)} {rng.choice(['today', 'again', 'before'])} ."


def write(file, rows):
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return file


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Texts about all words, and labelled rows on some of them."""
    home, rng = tmp_path_factory.mktemp("words"), np.random.default_rng(0)
    words = ANIMALS + TOOLS
    full = [[vague(rng, words), *(sentence(rng, words) for _ in range(3))] for _ in range(400)]
    write(home / "all.jsonl", [{"text": " ".join(m)} for m in full])
    for split, part in (("train", TAUGHT), ("valid", slice(4, None))):
        rows = [{"text": f"the {w}", "label": k} for k, ws in enumerate((ANIMALS, TOOLS)) for w in ws[part] * 6]
        write(home / f"x.{split}.jsonl", [{**r, "label": ("animal", "tool")[r["label"]]} for r in rows])
    return home


@pytest.fixture(scope="module")
def read(text):
    """The folder of a toy BERT that has read all of it."""
    sets = [*BERT, "loop.steps=60", "optim.lr=3e-3", "schedule.warmup=0.1"]
    pretrain("bert", data=[str(text / "all.jsonl")], out=text / "bert", sets=sets, quiet=True)
    return text / "bert"


def ask(text):
    return Question("classify", text / "x.train.jsonl", length=32)


def backbone_of(model):
    return {n: t.clone() for n, t in own_tensors(model).items() if n.startswith("backbone.")}


@pytest.fixture(scope="module")
def taught(read, text, tmp_path_factory):
    """taught("all") or taught("head"): what was trained; the folder and the figures."""
    home, made = tmp_path_factory.mktemp("taught"), {}

    def make(name):
        if name not in made:
            how = {"all": {"lr": 1e-3}, "head": {"train": "head", "lr": 1e-2}}
            tuning = Tuning(
                epochs=4, batch=16, sets=("objectives.0.pool=mean", "objectives.0.head=batch_normed"), **how[name]
            )
            made[name] = home / name, finetune(read, ask(text), tuning, out=home / name, quiet=True)
        return made[name]

    return make


@pytest.mark.slow
def test_all_weights_begin_where_pre_training_ended_and_all_that_is_used_moves(read, text, taught):
    setting = Setting(load_model(read), ask(text), Tuning(), say=lambda _: None)
    begun = setting.job(0, None, device="cpu", progress=None).init
    before, after = backbone_of(load_model(read).model), backbone_of(load_model(taught("all")[0]).model)
    assert all(torch.equal(begun[n], t) for n, t in before.items())
    still = {n for n, t in before.items() if torch.equal(after[n], t)}
    assert before.keys() == after.keys() and not still, still


@pytest.mark.slow
def test_features_leave_every_byte_of_the_backbone_and_the_head_answers_from_them_alone(read, text, taught):
    """A head taught on frozen states is a head on the vectors that `embed` gives once for all, dropout off."""
    folder, _ = taught("head")
    loaded, before = load_model(folder), backbone_of(load_model(read).model)
    assert all(torch.equal(t, before[n]) for n, t in backbone_of(loaded.model).items())
    texts = [f"the {w}" for w in ANIMALS + TOOLS]
    vectors = torch.from_numpy(embed(read, texts, pool="mean", normalise=False))
    with torch.no_grad():
        expected = loaded.model.objectives["classify"].eval().head(vectors).softmax(-1)
    found = predict(folder, texts=texts)
    assert [f["label"] for f in found] == [("animal", "tool")[i] for i in expected.argmax(1)]
    assert [f["probability"] for f in found] == pytest.approx(expected.amax(1).tolist(), abs=1e-5)


@pytest.mark.slow
def test_a_head_on_features_kept_once_is_taught_as_one_on_features_made_anew(read, text):
    """Losses of some steps with plain gradient descent, against a linear layer on vectors that were computed before."""
    tuning = Tuning(
        epochs=1,
        batch=48,
        train="head",
        sets=("objectives.0.pool=mean", "objectives.0.head={kind: classifier, dropout: 0.0, hidden: 0}", "loop.steps=4",
              "loop.precision=fp32", "optim={kind: sgd, lr: 0.5}", "schedule={kind: constant}", "loop.clip=0.0"),
    )  # fmt: skip
    out = text / "anew"
    finetune(read, ask(text), tuning, out=out, quiet=True)
    losses = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"]["classify"] for line in losses if "loss" in line]
    rows = [json.loads(line) for line in (text / "x.train.jsonl").read_text().splitlines()]
    kept = torch.from_numpy(embed(read, [r["text"] for r in rows], pool="mean", normalise=False))
    labels = torch.tensor([("animal", "tool").index(r["label"]) for r in rows])
    fresh = load_model(out).model.objectives["classify"].head.out
    setting = Setting(load_model(read), ask(text), tuning, say=lambda _: None)
    start = make_model(check(setting.tree(0)), setting.facts, seed=0).objectives["classify"].head.out
    expected = []
    for _ in range(4):
        loss = torch.nn.functional.cross_entropy(start(kept), labels)
        expected.append(loss.item())
        start.zero_grad(), loss.backward()
        with torch.no_grad():
            for p in start.parameters():
                p -= 0.5 * p.grad
    assert losses == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(start.weight, fresh.weight, atol=1e-5, rtol=0)
