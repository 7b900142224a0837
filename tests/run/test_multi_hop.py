"""Answers found by going from paragraph to paragraph: taught from the command line, opened, asked, refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modeledge.core import InputError
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.keep import load_model
from modeledge.run.predict import predict
from modeledge.run.pretrain import pretrain

pytestmark = pytest.mark.contract  # whole stories of verbs

PEOPLE = ["Anna", "Bert", "Clara", "David", "Emma", "Frank", "Greta", "Hugo"]
TOWNS = ["Rome", "Paris", "Oslo", "Cairo", "Lima", "Delhi", "Quito", "Bonn"]
THINGS = ["apples", "bells", "coins", "drums", "eggs", "flags", "gloves", "hats"]


def riddles(n, seed):
    """Who lives in a town that sells something: the person's paragraph names the town, the town's what is sold there.

    Four people, four towns; every town is known for one thing, so a single paragraph does not hold the answer."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        people, towns, things = (rng.permutation(x)[:4].tolist() for x in (PEOPLE, TOWNS, THINGS))
        home = [{"title": p, "sentences": [f"{p} lives in {t} ."]} for p, t in zip(people, towns, strict=True)]
        sold = [
            {"title": t, "sentences": [f"{t} sells {g} ."]} for t, g in zip(towns, rng.permutation(things), strict=True)
        ]
        asked = int(rng.integers(4))
        paragraphs = [home[asked], *home[:asked], *home[asked + 1 :], *sold]
        thing = sold[asked]["sentences"][0].split()[2]
        order = rng.permutation(len(paragraphs))
        yield {
            "question": f"What is sold where {people[asked]} lives ?",
            "paragraphs": [paragraphs[i] for i in order],
            "answer": thing,
            "supporting_facts": [[people[asked], 0], [towns[asked], 0]],
        }


def singles(row):
    """A row a paragraph, answerable where it holds the answer."""
    for p in row["paragraphs"]:
        text = p["sentences"][0]
        held = row["answer"] in text.split()
        starts = [text.index(row["answer"])] if held else []
        yield {"question": row["question"], "text": text, "answers": [row["answer"]] * held, "starts": starts}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hops")
    for name, n, seed in (("x.train", 300, 0), ("x.valid", 60, 1)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in riddles(n, seed)))
    texts = (
        {"text": " ".join(s for p in r["paragraphs"] for s in p["sentences"]) + " " + r["question"]}
        for r in riddles(300, 2)
    )
    (folder / "text.jsonl").write_text("".join(json.dumps(t) + "\n" for t in texts))
    trunk = ["backbone.width=64", "backbone.layers=2", "backbone.heads=2", "backbone.ffn.width=128"]
    sure = ["backbone.dropout=0.0", "backbone.attention.dropout=0.0", "backbone.positions.max=64"]
    rows = ["data.text={kind: full_sentences, length: 64}", "objectives=[{kind: mlm}]", "tokenizer.vocab=300"]
    sets = [*trunk, *sure, *rows, "loop.batch=8", "loop.precision=fp32", "loop.steps=4"]
    pretrain("bert", data=[str(folder / "text.jsonl")], out=folder / "bert", sets=sets, quiet=True)
    return folder


@pytest.mark.contract
def test_both_systems_are_taught_saved_judged_and_asked_from_the_command_line(home, command, tmp_path):
    data, few = home / "x.train.jsonl", ["--labels", 12, "--batch", 4, "--epochs", 1, "--length", 48, "-q", "--json"]
    code, said, complaint = command(
        "finetune", home / "bert", "--task", "hops", "--data", data, "--out", tmp_path / "o", *few
    )
    assert code == 0, complaint
    told = json.loads(said)
    code, said, _ = command("evaluate", tmp_path / "o", "--data", home / "x.valid.jsonl", "--json")
    assert code == 0 and json.loads(said) == pytest.approx(told["seeds"]["0"])
    code, said, _ = command("predict", tmp_path / "o", "--data", home / "x.valid.jsonl")
    answers = [json.loads(line) for line in said.splitlines()]
    assert code == 0 and len(answers) == 60 and all({"answer", "graph"} == set(a) for a in answers)
    model = load_model(tmp_path / "o").model
    assert model.backbone.embedding.types["sentence"].weight.shape == (30, 64)
    asked = next(riddles(1, 5))
    del asked["answer"], asked["supporting_facts"]
    assert set(predict(tmp_path / "o", texts=[asked])[0]) == {"answer", "graph"}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"paragraphs": [{"title": "Anna", "text": "lives"}]}, "a title and sentences"),
        ({"paragraphs": [["Anna", ["a"]], ["Anna", ["b"]]]}, "titles of their own"),
        ({"answer": "something else"}, "nothing to learn from"),
    ],
)
def test_questions_that_cannot_be_read_are_named(home, tmp_path, row, told):
    (tmp_path / "x.jsonl").write_text(json.dumps(next(riddles(1, 0)) | {"supporting_facts": []} | row) + "\n")
    with pytest.raises(InputError, match=told):
        finetune(home / "bert", Question("hops", tmp_path / "x.jsonl", length=48), Tuning(most=2), quiet=True)


@pytest.mark.slow
def test_two_hops_find_what_no_single_paragraph_tells(home, tmp_path):
    """A reader of one paragraph at a time, which takes the answer it is surest of, can but guess."""
    rows = {}
    for split in ("train", "valid"):
        rows[split] = [json.loads(line) for line in (home / f"x.{split}.jsonl").read_text().splitlines()]
        lines = (json.dumps(one) + "\n" for row in rows[split] for one in singles(row))
        (tmp_path / f"y.{split}.jsonl").write_text("".join(lines))
    how = Tuning(epochs=100, most=500, batch=8, lr=2e-3, sets=("objectives.0.below=2.0",))
    both = finetune(home / "bert", Question("hops", home / "x.train.jsonl", length=32), how, quiet=True)
    columns = {"text": "question", "second": "text", "label": "answers"}
    alone = Question("span_qa", tmp_path / "y.train.jsonl", columns=columns, length=32)
    finetune(home / "bert", alone, Tuning(epochs=100, most=250, batch=64, lr=2e-3), out=tmp_path / "o", quiet=True)
    said = predict(tmp_path / "o", tmp_path / "y.valid.jsonl")
    best = [max(said[i : i + 8], key=lambda a: a["margin"])["answer"] for i in range(0, len(said), 8)]
    single = np.mean([a == r["answer"] for a, r in zip(best, rows["valid"], strict=True)])
    print(both.figures[0], single)
    assert both.figures[0]["exact_match"] > max(0.8, single + 0.3), (both.figures, single)
