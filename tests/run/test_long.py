"""Long texts read in blocks: a needle far beyond the model's places, what is kept, what is saved, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modeledge.core import InputError
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.keep import load_model
from modeledge.run.predict import evaluate_model, predict
from modeledge.run.pretrain import pretrain

pytestmark = pytest.mark.contract  # whole stories of verbs

ANIMALS, PLACES, VERBS = (
    ["dog", "cat", "bird", "fish", "horse"],
    ["garden", "house", "river"],
    ["sees", "hears", "likes"],
)


def stories(n, seed, others):
    """A question after an animal that one sentence of the text, among `others` about other animals, puts in a place."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        animal, place = rng.choice(ANIMALS), rng.choice(PLACES)
        rest = [a for a in ANIMALS if a != animal]
        lines = [f"The {rng.choice(rest)} {rng.choice(VERBS)} the {rng.choice(rest)} ." for _ in range(others)]
        at = int(rng.integers(others * 3 // 4, others + 1)) if others > 10 else int(rng.integers(0, others + 1))
        needle = f"The {animal} likes the {place} ."
        text = " ".join([*lines[:at], needle, *lines[at:]])
        start = text.index(needle) + needle.index(place)
        yield {"question": f"What likes the {animal} ?", "text": text, "place": str(place), "answers": [place],
               "starts": [start]}  # fmt: skip


def write(file, rows):
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return file


@pytest.fixture(scope="module")
def bert(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("bert") / "run"
    trunk = ["backbone.width=32", "backbone.layers=2", "backbone.heads=2", "backbone.ffn.width=64"]
    sure = ["backbone.dropout=0.0", "backbone.attention.dropout=0.0", "backbone.positions.max=64"]
    rows = ["data.text={kind: full_sentences, length: 64}", "objectives=[{kind: mlm}]", "tokenizer.vocab=200"]
    sets = [*trunk, *sure, *rows, "loop.batch=8", "loop.precision=fp32", "loop.steps=4"]
    pretrain("bert", data=[str(corpus)], out=out, sets=sets, quiet=True)
    return out


def ask(folder, task="classify", others=60, n=96):
    write(folder / "x.valid.jsonl", stories(60, 1, others))
    label = "place" if task == "classify" else "answers"
    columns = {"text": "question", "second": "text", "label": label}
    return Question(task, write(folder / "x.train.jsonl", stories(n, 0, others)), columns=columns, long="recall")


@pytest.fixture(scope="module")
def taught(bert, tmp_path_factory):
    """A reasoner and its judge after a few steps, and where they lie."""
    home = tmp_path_factory.mktemp("long")
    tuned = finetune(bert, ask(home, "span_qa", others=20, n=24), Tuning(most=4, batch=8), out=home / "o", quiet=True)
    return home, tuned


@pytest.mark.contract
def test_reasoner_and_judge_are_model_folders_that_open_and_answer(taught):
    home, tuned = taught
    judged = evaluate_model(home / "o", home / "x.valid.jsonl")
    assert judged == pytest.approx(tuned.figures[0])
    answers = predict(home / "o", home / "x.valid.jsonl")
    rows = [json.loads(line) for line in (home / "x.valid.jsonl").read_text().splitlines()]
    assert all(a["answer"] in r["text"] for a, r in zip(answers, rows, strict=True))
    picked = predict(home / "o" / "model" / "judge", home / "x.valid.jsonl")
    assert len(picked) == 60 and all(0 <= s <= 1 for p in picked for s in p["scores"])
    assert all(len(p["blocks"]) == len(p["scores"]) > 1 for p in picked)


def test_the_judge_is_judged_by_the_blocks_of_the_answers(taught):
    home, _ = taught
    figures = evaluate_model(home / "o" / "model" / "judge", home / "x.valid.jsonl")
    rows = [json.loads(line) for line in (home / "x.valid.jsonl").read_text().splitlines()]
    picked = predict(home / "o" / "model" / "judge", home / "x.valid.jsonl")
    seen = [any(r["place"] in block for block in p["blocks"]) for p, r in zip(picked, rows, strict=True)]
    assert figures == {"kept": np.mean(seen), "n": 60.0}


def test_a_reasoner_without_its_judge_is_refused(taught, tmp_path):
    loaded = load_model(taught[0] / "o")
    loaded.path = tmp_path
    with pytest.raises(InputError, match="judge"):
        predict(loaded, taught[0] / "x.valid.jsonl")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"task": "tag"}, "not for --task tag"),
        ({"task": "relevance", "long": "cut"}, "--long recall"),
        ({"orders": "both"}, "takes no --mix"),
        ({"length": 100}, "--length 64 or less"),
    ],
)
def test_what_long_texts_cannot_be_asked_is_said(bert, tmp_path, change, told):
    asked = vars(ask(tmp_path, n=8)) | change
    with pytest.raises(InputError, match=told):
        finetune(bert, Question(**asked), Tuning(most=2), quiet=True)


@pytest.mark.slow
def test_a_needle_far_beyond_the_places_is_found_and_a_cut_text_does_not_hold_it(bert, tmp_path):
    """Texts of about 370 tokens for a model of 64 places; the same questions with four sentences for comparison."""
    how = Tuning(epochs=100, most=400, lr=3e-3, batch=32)
    figures = {}
    for name, others, long in (("short", 4, "cut"), ("long", 60, "recall"), ("cut", 60, "cut")):
        folder = tmp_path / name
        folder.mkdir()
        question = Question(**vars(ask(folder, others=others, n=400)) | {"long": long})
        figures[name] = finetune(bert, question, how, quiet=True).figures[0]["accuracy"]
    print(figures)
    assert figures["long"] >= figures["short"] - 0.05 and figures["cut"] < 0.6, figures
