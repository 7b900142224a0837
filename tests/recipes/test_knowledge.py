"""What the recipes about knowledge promise beyond the contract."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modeledge.core import find
from modeledge.data.prepare import prepare
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.keep import load_model
from modeledge.run.predict import evaluate_model, predict
from modeledge.run.pretrain import pretrain
from modeledge.run.records import fill_records
from modeledge.run.search import Beam

CITIES = ["berlin", "lima", "oslo", "cairo"]


def homes(draws):
    """Names of two syllables, each with a city that nothing about the name tells."""
    rng, letters = np.random.default_rng(0), [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    names = sorted({"".join(rng.choice(letters, 2)) for _ in range(draws)})
    return {name: CITIES[i] for name, i in zip(names, rng.integers(0, 4, len(names)), strict=True)}


def ask_for(home, folder, *, held):
    """A question for each name; the last so many are held out, and none of them is about a name that is taught."""
    asked = [{"text": f"in which town is {name} ?", "label": city} for name, city in home.items()]
    for file, rows in (("train", asked[:-held]), ("valid", asked[-held:])):
        (folder / f"q.{file}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return asked


@pytest.mark.slow
def test_transe_finds_the_missing_end_of_held_out_facts_of_a_small_graph(data, tmp_path):
    import pyarrow.parquet as pq

    rows = pq.read_table(data("kg/umls.parquet")).to_pylist()
    for name, splits in (("train", ("train",)), ("held", ("valid", "test"))):
        chosen = [f"{r['head']}\t{r['relation']}\t{r['tail']}\n" for r in rows if r["split"] in splits]
        (tmp_path / f"{name}.tsv").write_text("".join(chosen))
    prepare(tmp_path / "train.tsv", out=tmp_path / "s", kind="triples", valid=tmp_path / "held.tsv")
    sets = ["loop.steps=1500", "loop.batch=256"]
    pretrain("transe", data=[str(tmp_path / "s")], out=tmp_path / "run", size="tiny", sets=sets, quiet=True)
    found = evaluate_model(tmp_path / "run", str(tmp_path / "s"), task="links", device="cpu")
    assert found["hits@10"] > 0.9 and found["mrr"] > 0.7  # of 135 entities; chance 0.07


@pytest.mark.slow
def test_a_graph_answers_what_no_text_said_and_another_graph_answers_otherwise(tmp_path):
    rng, home = np.random.default_rng(0), homes(400)
    names, asked = list(home), ask_for(home, tmp_path, held=60)
    text = [f"{name} is a town in {rng.choice(CITIES)} or {rng.choice(CITIES)} ." for name in names for _ in range(4)]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in text))
    turned = {name: CITIES[(CITIES.index(city) + 1) % 4] for name, city in home.items()}
    for file, facts in (("right", home), ("turned", turned)):
        (tmp_path / f"{file}.tsv").write_text("".join(f"{name}\tlies in\t{city}\n" for name, city in facts.items()))
    sets = ["backbone.width=64", "backbone.ffn.width=128", "tokenizer.vocab=400", "loop.steps=60", "loop.batch=32"]
    sets += ["data.text={kind: document, length: 32}", "objectives=[{kind: mlm}]", "loop.precision=fp32"]
    pretrain("bert", data=[str(tmp_path / "text.jsonl")], out=tmp_path / "run", size="tiny", sets=sets, quiet=True)
    found = {}
    for name in ("none", "right"):
        columns = {} if name == "none" else {"graph": str(tmp_path / "right.tsv")}
        question = Question("classify", tmp_path / "q.train.jsonl", columns=columns)
        tuned = finetune(tmp_path / "run", question, Tuning(epochs=20, lr=2e-3), out=tmp_path / name, quiet=True)
        found[name] = tuned.figures[0]["accuracy"]
    assert found["right"] > 0.9 > 0.5 > found["none"], found
    rows = predict(tmp_path / "right", tmp_path / "q.valid.jsonl", columns={"graph": str(tmp_path / "turned.tsv")})
    names = [row["text"].split()[-2] for row in asked[-60:]]
    assert np.mean([r["label"] == turned[name] for r, name in zip(rows, names, strict=True)]) > 0.9


@pytest.mark.slow
def test_what_a_graph_knows_of_entities_answers_questions_about_names_never_asked_about(tmp_path):
    """ERNIE: which town a name belongs to stands in no text, only in the vectors that TransE made of the facts."""
    rng, home = np.random.default_rng(0), homes(2500)
    names, asked = list(home), ask_for(home, tmp_path, held=200)
    (tmp_path / "facts.tsv").write_text("".join(f"{name}\tlies in\t{city}\n" for name, city in home.items()))
    (tmp_path / "forms.tsv").write_text("".join(f"{name}\t{name}\n" for name in names))
    text = [f"{a} is not far from {b} and {c} ." for a, b, c in rng.choice(names, (4000, 3))]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in text))
    prepare(tmp_path / "facts.tsv", out=tmp_path / "graph", kind="triples", valid_fraction=0)
    sets = ["loop.steps=1500", "loop.batch=512", "backbone.width=20"]
    pretrain("transe", data=[str(tmp_path / "graph")], out=tmp_path / "transe", size="tiny", sets=sets, quiet=True)
    marks = {"entities": tmp_path / "forms.tsv", "vectors": tmp_path / "transe"}
    config = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=400)
    prepare(tmp_path / "text.jsonl", out=tmp_path / "s", tokenizer=config, documents="line", **marks)
    sets = [
        "backbone={width: 64, ffn: {width: 128}, entity_width: 20}",
        "loop={steps: 150, batch: 32, precision: fp32}",
    ]
    sets += ["data.text={kind: document, length: 32}", "optim.lr=1e-3"]
    sets += ["objectives=[{kind: entity_denoising, exchange: 0.05, hide: 0.15, mask: {kind: mlm}}]"]
    pretrain("ernie_thu", data=[str(tmp_path / "s")], out=tmp_path / "run", size="tiny", sets=sets, quiet=True)
    found = {}
    for name, columns in (("none", {}), ("marked", {"entities": str(tmp_path / "forms.tsv")})):
        question = Question("classify", tmp_path / "q.train.jsonl", columns=columns)
        tuned = finetune(tmp_path / "run", question, Tuning(epochs=10, lr=2e-3), out=tmp_path / name, quiet=True)
        found[name] = tuned.figures[0]["accuracy"]
    assert found["marked"] > 0.8 > 0.5 > found["none"], found
    rows = predict(tmp_path / "marked", texts=[asked[-1]["text"]], columns={"entities": str(tmp_path / "forms.tsv")})
    assert rows[0]["label"] == asked[-1]["label"]


@pytest.mark.slow
def test_a_field_that_was_taken_out_is_found_again_better_with_types_than_without(tmp_path):
    rng = np.random.default_rng(0)
    towns = ["berlin", "lima", "oslo", "cairo", "delhi", "paris", "quito", "tunis", "dakar", "seoul"]
    rows = []
    for _ in range(1500):  # who sees Oslo must know whether it is the seat or the plant to tell the other one
        trade = int(rng.integers(10))
        rows.append({"seat": towns[trade], "plant": towns[(trade + 3) % 10]})
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(r | {"id": str(i)}) + "\n" for i, r in enumerate(rows)))
    fields = ["seat", "plant", "id"]  # the number makes records differ, so that a share is held out
    config = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=150)
    prepare(
        tmp_path / "r.jsonl", out=tmp_path / "s", kind="fields", fields=fields, tokenizer=config, valid_fraction=0.1
    )
    sets = ["backbone.width=64", "backbone.ffn.width=128", "data.text.length=32", "loop.steps=400", "loop.batch=32"]
    sets += ["loop.precision=fp32", "optim.lr=2e-3", "objectives=[{kind: mlm, rate: 0.3, select: words}]"]
    found = {}
    for name, more in (("typed", []), ("plain", ["backbone.embedding.types.types=null"])):
        pretrain(
            "oag_bert", data=[str(tmp_path / "s")], out=tmp_path / name, size="tiny", sets=[*sets, *more], quiet=True
        )
        found[name] = evaluate_model(tmp_path / name, str(tmp_path / "s"), task="names", device="cpu")
    assert found["typed"]["accuracy"] > found["plain"]["accuracy"] + 0.2 > found["plain"]["chance"] + 0.4, found
    asked = [json.dumps({"seat": town, "plant": "[MASK]"}) for town in towns]
    written = fill_records(load_model(tmp_path / "typed"), asked, Beam(4), limit=6)
    right = [row["filled"]["plant"] == towns[(n + 3) % 10] for n, row in enumerate(written)]
    assert sum(right) >= 8, written  # by chance one
