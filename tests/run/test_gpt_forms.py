"""How GPT writes a task as one text, and that what it read before helps when labels are few."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from modeledge.data.sources.table import LabelledTable
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.forms import framed_facts
from modeledge.run.keep import load_model
from modeledge.run.predict import predict
from modeledge.run.pretrain import pretrain
from modeledge.run.setting import Setting

pytestmark = pytest.mark.contract  # whole stories of verbs

SMALL = ["backbone.width=32", "backbone.layers=2", "backbone.heads=2", "backbone.ffn.width=64", "loop.precision=fp32"]


@pytest.fixture(scope="module")
def gpt(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("gpt") / "run"
    sets = [*SMALL, "tokenizer.vocab=200", "data.text.length=32", "loop.batch=8", "loop.steps=2"]
    pretrain("gpt", data=[str(corpus)], out=out, size="tiny", sets=sets, quiet=True)
    return load_model(out)


def rows(gpt, tmp_path, form, record, **columns):
    """The ids of one record in a form, without padding: n texts."""
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps(record) + "\n")
    facts = framed_facts(gpt)
    from modeledge.data.tables import open_data

    config = LabelledTable.Config(kind="table", form=form, length=40, **columns)
    batch = LabelledTable(config, open_data(file), facts).rows(np.arange(1), np.random.default_rng(0))
    ids = batch.ids.reshape(-1, batch.ids.shape[-1])
    valid = batch.valid.reshape(ids.shape) if "valid" in batch else np.ones(ids.shape, bool)
    return [row[real].tolist() for row, real in zip(ids, valid, strict=True)], facts


A, B, C = "the dog", "a cat sees", "the river"


@pytest.mark.parametrize(
    ("form", "record", "columns", "wanted"),
    [
        ("text", {"text": A, "label": "x"}, {}, [("start", A, "extract")]),
        ("text", {"text": A, "b": B, "label": "x"}, {"second": "b"}, [("start", A, "delimiter", B, "extract")]),
        (
            "both",
            {"text": A, "b": B, "label": "x"},
            {"second": "b"},
            [("start", A, "delimiter", B, "extract"), ("start", B, "delimiter", A, "extract")],
        ),
        (
            "choice",
            {"text": A, "options": [B, C], "label": 1},
            {"choices": ("options",)},
            [("start", A, "delimiter", B, "extract"), ("start", A, "delimiter", C, "extract")],
        ),
    ],
    ids=["classification", "entailment", "similarity", "multiple choice"],
)
def test_each_of_the_four_forms_is_laid_out_token_by_token(gpt, tmp_path, form, record, columns, wanted):
    found, facts = rows(gpt, tmp_path, form, record, **columns)
    special = facts.special

    def spelled(parts):
        return [i for p in parts for i in ([special[p]] if p in special else facts.tokenizer.encode_batch([p])[0])]

    assert found == [spelled(parts) for parts in wanted]


def test_the_new_tokens_stand_behind_the_old_ones_whose_vectors_stay(gpt, tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": "the dog", "label": "x"}\n{"text": "a cat", "label": "y"}\n')
    setting = Setting(gpt, Question("classify", tmp_path / "t.jsonl"), Tuning(), say=lambda text: None)
    special = {r: i for r, i in setting.facts.special.items() if r in ("start", "delimiter", "extract")}
    assert sorted(special.values()) == [gpt.facts.vocab + i for i in range(3)]
    new = setting.job(0, None, device="cpu", progress=None).init["backbone.embedding.word.weight"]
    assert torch.equal(new[: gpt.facts.vocab], gpt.model.backbone.embed.weight)
    assert [gpt.facts.tokenizer.pieces.tokens[i] for i in (0, gpt.facts.vocab - 1)] == ["<unk>", "</s>"]


def taught(gpt, tmp_path, **tuning):
    """A toy taught for two steps whether two texts belong together, whichever comes first."""
    rows = [{"text": a, "other": b, "label": "xy"[i % 2]} for i, (a, b) in enumerate([(A, B), (B, C), (C, A), (A, C)])]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    question = Question("classify", tmp_path / "pairs.jsonl", columns={"second": "other"}, orders="both")
    finetune(gpt, question, Tuning(most=2, batch=4, **tuning), out=tmp_path / "o", quiet=True)
    return load_model(tmp_path / "o")


def test_similarity_is_the_same_whichever_text_comes_first(gpt, tmp_path):
    model = taught(gpt, tmp_path)
    one, other = (predict(model, texts=[pair])[0] for pair in ((A, B), (B, A)))
    assert one["label"] == other["label"] and one["probability"] == pytest.approx(other["probability"], abs=1e-6)


def test_without_a_weight_there_is_no_language_model_to_train(gpt, tmp_path):
    assert [name for name, _ in taught(gpt, tmp_path).model.each()] == ["classify"]


WORDS = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u")]


def essay(rng, topic, length):
    """Words of one of three topics, each drawn evenly from the topic's twenty."""
    return " ".join(rng.choice(WORDS[topic * 20 : topic * 20 + 20], length))


@pytest.mark.slow
def test_a_model_that_has_read_needs_fewer_labels_than_a_fresh_one(tmp_path):
    """Which words go together is learnt from plain text; one labelled row a topic then names the topics."""
    rng = np.random.default_rng(0)
    read = ({"text": essay(rng, rng.integers(3), 15)} for _ in range(1500))
    (tmp_path / "text.jsonl").write_text("".join(json.dumps(r) + "\n" for r in read))
    for name, n in (("x.train", 3), ("x.valid", 150)):
        labelled = ({"text": essay(rng, i % 3, 6), "label": "abc"[i % 3]} for i in range(n))
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in labelled))
    sets = [*SMALL, "tokenizer.vocab=300", "data.text={length: 16, isolate: true}", "loop.batch=32", "loop.steps=500"]
    pretrain("gpt", data=[str(tmp_path / "text.jsonl")], out=tmp_path / "run", size="tiny", quiet=True,
             sets=[*sets, "optim.lr=3e-3"])  # fmt: skip
    question = Question("classify", tmp_path / "x.train.jsonl")

    def accuracy(**how):
        tuned = finetune(tmp_path / "run", question, Tuning(epochs=40, batch=3, lr=3e-3, **how), seeds=3, quiet=True)
        return tuned.intervals()["accuracy"].mean

    assert accuracy() > accuracy(scratch=True) + 0.1
