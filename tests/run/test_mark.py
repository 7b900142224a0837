"""From a classifier to marks: what it decides by, a tagger taught with that, texts it has marked, a store, masks."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from modeledge.core import RecipeError
from modeledge.data import Store
from modeledge.run import mark
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.keep import load_model
from modeledge.run.mark import important_words, sentences_of
from modeledge.run.predict import predict
from modeledge.run.pretrain import pretrain

pytestmark = pytest.mark.contract  # whole stories of verbs

FAST = {"lr": 3e-3, "batch": 16, "epochs": 100}
GOOD, BAD = ["garden", "house"], ["river", "field"]


def labelled(n, seed, *, vague=0.0):
    """Rows of a sentence or two about places; the place tells the class, and sentences of one row agree. Of the `vague`
    rows there is only the beginning, which tells nothing: else a classifier is sure of something when it sees no place.
    """
    rng = np.random.default_rng(seed)
    for _ in range(n):
        side, said = rng.integers(2), []
        if rng.random() < vague:
            a, b = rng.choice(["dog", "cat", "bird", "fish"], 2)
            words = f"The {a} {rng.choice(['sees', 'hears', 'likes'])} the {b} in the".split()
            yield {"text": " ".join(words[: rng.integers(1, 8)]), "class": ["good", "bad"][side]}
            continue
        for _ in range(rng.integers(1, 3)):
            a, b = rng.choice(["dog", "cat", "bird", "fish"], 2)
            place, verb = rng.choice([GOOD, BAD][side]), rng.choice(["sees", "hears", "likes"])
            said.append(f"The {a} {verb} the {b} in the {place}.")
        yield {"text": " ".join(said), "class": ["good", "bad"][side]}


def lines(file: Path, rows) -> Path:
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return file


def rows_of(said: str) -> list[dict]:
    return [json.loads(line) for line in said.splitlines()]


@pytest.fixture(scope="module")
def judge(corpus, tmp_path_factory):
    """The folder of a toy BERT, pre-trained for a few steps, and that of a classifier made of it."""
    home = tmp_path_factory.mktemp("judge")
    trunk = ["backbone.width=32", "backbone.layers=2", "backbone.heads=2", "backbone.ffn.width=64"]
    trunk += ["backbone.dropout=0.0", "backbone.attention.dropout=0.0", "tokenizer.vocab=200", "loop.precision=fp32"]
    rows = ["data.text={kind: full_sentences, length: 32}", "objectives=[{kind: mlm}]", "loop.batch=8", "loop.steps=4"]
    pretrain("bert", data=[str(corpus)], out=home / "bert", sets=[*trunk, *rows], quiet=True)
    question = Question(
        "classify", lines(home / "x.train.jsonl", labelled(2000, 0, vague=0.5)), columns={"label": "class"}
    )
    finetune(home / "bert", question, Tuning(most=180, **FAST), out=home / "judge", quiet=True)
    return home / "bert", home / "judge"


def test_words_and_where_they_stand_are_those_of_the_text(judge):
    tokenizer = load_model(judge[0]).facts.tokenizer
    text = '  The dog (a "fish") sees it!  In the garden,\n\n\x1a\n\nnobody did. '
    found = sentences_of(tokenizer, ["", text, "   "], length=64)
    assert [s.text for s in found] == [1, 1, 1]
    assert [text[a:b] for s in found for a, b in s.spans] == [w for s in found for w in s.said]
    assert [s.said for s in found][1:] == [["In", "the", "garden", ","], ["nobody", "did", "."]]
    assert all((np.diff(s.words) >= 0).all() and s.words[-1] == len(s.said) - 1 for s in found)
    parts = sentences_of(tokenizer, ["", text, "   "], length=8)  # of which two are the frame's
    assert max(len(s.ids) for s in parts) == 6 and [text[a:b] for s in parts for a, b in s.spans] == [
        w for s in found for w in s.said
    ]
    assert np.concatenate([s.ids for s in parts]).tolist() == np.concatenate([s.ids for s in found]).tolist()


def test_important_words_are_those_of_asking_about_every_buffer_by_itself(judge, tmp_path):
    rows = [row for row in labelled(30, 1) if row["text"].count(".") == 1][:12]
    rows[0]["class"] = {"good": "bad", "bad": "good"}[rows[0]["class"]]  # which the classifier gets wrong
    loaded = load_model(judge[1])
    said = important_words(loaded, lines(tmp_path / "x.jsonl", rows), threshold=0.05)

    def sure(words, label):
        answer = predict(loaded, texts=[" ".join(words)])[0]
        return answer["probability"] if answer["label"] == label else 1 - answer["probability"]

    for row, found in zip(rows, said, strict=True):
        words, label = row["text"].replace(".", " .").split(), row["class"]
        assert found["text"] == words
        buffer, wanted, whole = [], [], sure(words, label)
        for word in words:
            near = whole - sure([*buffer, word], label) < 0.05
            wanted.append("important" if near and whole > 0.5 else "O")
            buffer += [] if near else [word]
        assert found["label"] == wanted
    wrong = important_words(loaded, lines(tmp_path / "wrong.jsonl", rows[:1]), threshold=0.05)
    assert wrong == said[:1] and set(wrong[0]["label"]) == {"O"}


def test_the_words_that_tell_the_class_are_found_and_a_tagger_finds_them_in_new_texts(judge, tmp_path, command):
    """The whole way by the verbs: labelled rows, words, a tagger, marked texts, a store, masks."""
    table = lines(tmp_path / "task.jsonl", labelled(120, 2))
    code, said, err = command("predict", judge[1], "--data", table, "--importance", 0.05)
    assert code == 0, err
    words = [(w, label) for row in rows_of(said) for w, label in zip(row["text"], row["label"], strict=True)]
    telling = [w in GOOD + BAD for w, label in words if label == "important"]
    assert np.mean(telling) > 0.8 and sum(telling) > 0.8 * sum(w in GOOD + BAD for w, _ in words)

    (tmp_path / "words.jsonl").write_text(said)
    out = ("--out", tmp_path / "tagger", "--quiet")
    asked = ("--task", "tag", "--data", tmp_path / "words.jsonl", "--lr", 3e-3, "--batch", 16, "--epochs", 5)
    code, _, err = command("finetune", judge[0], *asked, *out)
    assert code == 0, err
    new = [{"body": row["text"]} for row in labelled(60, 3)]
    code, said, err = command("predict", tmp_path / "tagger", "--data", lines(tmp_path / "new.jsonl", new),
                              "--column", "text=body")  # fmt: skip
    assert code == 0, err
    marked = rows_of(said)
    assert [row["text"] for row in marked] == [row["body"] for row in new]
    hits = [row["text"][a:b] in GOOD + BAD for row in marked for a, b in row["marks"]]
    assert np.mean(hits) > 0.8 and sum(hits) > 0.8 * sum(row["text"].count(".") for row in marked)

    (tmp_path / "marked.jsonl").write_text(said)
    tokenizer = ("--tokenizer", judge[0] / "model", "--column", "marks=marks", "--valid", 0, "--quiet")
    code, _, err = command("prepare", tmp_path / "marked.jsonl", *tokenizer, "--out", tmp_path / "store")
    assert code == 0, err
    store, known = Store.open(tmp_path / "store"), load_model(judge[0]).facts.tokenizer
    shown = {known.decode([token]) for token in store["tokens"][store["marked"]]}
    assert set(GOOD + BAD) <= shown and store["marked"].sum() >= sum(hits)
    sets = [f"--set={s}" for s in ("loop.steps=3", "loop.batch=8", "data.text.length=32", "loop.precision=fp32")]
    trunk = [f"--set=backbone.{s}" for s in ("width=32", "layers=2", "heads=2", "ffn.width=64")]
    own = ("--set", "tokenizer.vocab=200", "--init", judge[0], "--out", tmp_path / "run", "--quiet")
    code, said, err = command("pretrain", "selective", "--data", tmp_path / "store", *sets, *trunk, *own)
    assert code == 0, err


def test_a_store_without_marks_is_refused_with_what_to_do(train, tmp_path):
    with pytest.raises(RecipeError, match=r"reads 'marked'.*\n  next: data prepared with .*--column marks=COLUMN"):
        train(sets=["objectives=[{kind: mlm, select: marked}]"])


def test_a_run_of_words_with_one_tag_is_one_mark_and_b_begins_another(judge, monkeypatch):
    loaded = load_model(judge[0])
    said = [{"tags": t.split()} for t in ("O B-X I-X B-X O O", "Y Y O Y")]
    monkeypatch.setattr(mark, "rows_for", lambda *_, **__: None)
    monkeypatch.setattr(mark, "data_of", lambda *_: ("label", SimpleNamespace(text="text", length=64)))
    monkeypatch.setattr(mark, "answers", lambda *_, **__: said)
    text = "The dog sees the cat. A fish hears it"
    (found,) = mark.mark_texts(loaded, [text])
    assert [text[a:b] for a, b in found["marks"]] == ["dog sees", "the", "A fish", "it"]
    assert found["tags"] == ["X", "X", "Y", "Y"]


def test_what_cannot_be_asked_is_refused(judge, tmp_path, command):
    table = lines(tmp_path / "x.jsonl", labelled(4, 5))
    for words, said in (
        ((judge[0], "--data", table, "--importance", 0.05), "pre-trained and not taught a task"),
        ((judge[1], "--text", "The dog", "--importance", 0.05), "about labelled rows: --data TABLE"),
        ((judge[1], "--data", table, "--importance", 5), "a number from 0 to 1"),
    ):
        code, _, err = command("predict", *words)
        assert code == 2 and said in err


PLANTED = {"high": ["amber", "copper", "velvet", "marble"], "low": ["walnut", "cotton", "silver", "pepper"]}


def planted(texts: list[str], seed: int, *, vague: float = 0.0):
    """Real sentences with one of the class's own words put in somewhere; the `vague` ones go without."""
    rng = np.random.default_rng(seed)
    for text in texts:
        label, words = ["high", "low"][rng.integers(2)], [w for w in text.split() if w not in sum(PLANTED.values(), [])]
        if rng.random() >= vague:
            words.insert(rng.integers(len(words) + 1), str(rng.choice(PLANTED[label])))
        yield {"text": " ".join(words), "label": label}


@pytest.mark.slow
def test_planted_words_are_found_in_real_text_and_by_the_tagger_in_text_it_has_not_seen(data, tmp_path):
    texts = [row["text"] for row in pq.read_table(data("en/subj.train.parquet")).to_pylist()]
    lines(tmp_path / "t.jsonl", planted(texts, 0))
    small = ["backbone.width=64", "backbone.ffn.width=128", "tokenizer={kind: wordpiece, vocab: 2000, lowercase: true}"]
    rows = ["data.text={kind: full_sentences, length: 64}", "objectives=[{kind: mlm}]", "loop.steps=4", "loop.batch=16"]
    kinds = {"size": "tiny", "sets": [*small, *rows], "quiet": True}
    pretrain("bert", data=[str(tmp_path / "t.jsonl")], out=tmp_path / "bert", **kinds)
    taught = lines(tmp_path / "x.train.jsonl", planted(texts[:6000], 1, vague=0.4))
    fast = Tuning(lr=1e-3, batch=32, epochs=3, sets=("objectives.0.pool=mean",))
    finetune(tmp_path / "bert", Question("classify", taught, length=64), fast, out=tmp_path / "judge", quiet=True)

    every, judged = sum(PLANTED.values(), []), lines(tmp_path / "j.jsonl", planted(texts[:1500], 2))
    rows = important_words(load_model(tmp_path / "judge"), judged, threshold=0.05)
    found = [(w in every, label != "O") for r in rows for w, label in zip(r["text"], r["label"], strict=True)]
    right = sum(a and b for a, b in found)
    precision, recall = right / sum(b for _, b in found), right / sum(a for a, _ in found)

    tagging = Question("tag", lines(tmp_path / "words.jsonl", rows), length=64)
    finetune(tmp_path / "bert", tagging, Tuning(lr=1e-3, batch=32, epochs=6), out=tmp_path / "tagger", quiet=True)
    new = list(planted(texts[6000:7000], 3))
    marked = predict(tmp_path / "tagger", texts=[row["text"] for row in new])
    hits = [row["text"][a:b] in every for row in marked for a, b in row["marks"]]
    assert precision > 0.5 and recall > 0.5
    assert np.mean(hits) > 0.5 and sum(hits) > 0.5 * len(new)
