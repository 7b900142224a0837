"""Toy data for every kind of source and tokenizer a recipe may ask for, made once a session."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from modeledge.core import find
from modeledge.data.prepare import prepare
from modeledge.data.store import Store
from modeledge.data.tables import Table
from modeledge.engine.processes import ALONE
from modeledge.recipe.resolve import Tree, resolve, shipped
from modeledge.recipe.schema import check
from modeledge.run.job import stage_trees
from modeledge.run.model import make_model
from modeledge.run.stage import Job, Stage
from modeledge.tokenizers import load_tokenizer

FIRST = ("bert", "clip", "gpt2", "word2vec")
"""One of each sort; the others' contracts are a tier of their own, so that trying a change stays quick."""
VOCAB = 300
NOUNS = ["dog", "cat", "bird", "fish", "horse", "child", "teacher", "farmer"]


def pytest_generate_tests(metafunc):
    """A test that takes `name` and does not say which is for every recipe of the catalogue."""
    told = any("name" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "name" in metafunc.fixturenames and not told:
        each = [pytest.param(n, marks=() if n in FIRST else pytest.mark.contract) for n in shipped()]
        metafunc.parametrize("name", each)


def sentence(rng: np.random.Generator) -> str:
    nouns = NOUNS
    verbs, places = ["sees", "hears", "likes", "follows"], ["garden", "house", "river", "field"]
    return f"The {rng.choice(nouns)} {rng.choice(verbs)} the {rng.choice(nouns)} in the {rng.choice(places)}."


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """Text, parallel text, pictures with labels, and pairs, as files."""
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    text = [{"text": " ".join(sentence(rng) for _ in range(rng.integers(4, 12)))} for _ in range(300)]
    text = [{"text": row["text"].replace(". The cat", ". However, the cat")} for row in text]
    telling = re.compile(r"(?!The|the|in|However)\b\w+")
    text = [{**row, "marks": [m.span() for m in telling.finditer(row["text"])]} for row in text]
    text = [{**row, "lang": "ab"[i % 2]} for i, row in enumerate(text)]
    (folder / "text.jsonl").write_text("".join(json.dumps(t) + "\n" for t in text))
    nouns, verbs = NOUNS, ["sees", "hears", "likes", "follows"]
    facts = [(noun, verb, nouns[(i + j + 1) % 8]) for i, noun in enumerate(nouns) for j, verb in enumerate(verbs)]
    (folder / "triples.tsv").write_text("".join("\t".join(fact) + "\n" for fact in facts))
    (folder / "described.tsv").write_text("".join(f"{n}\tThe {n} sees the garden.\n" for n in nouns))
    (folder / "entities.tsv").write_text("".join(f"{n}\t{n}\n" for n in nouns))
    (folder / "phrases.txt").write_text("in the garden\nin the house\n")
    papers = [
        {
            "title": sentence(rng),
            "authors": rng.choice(nouns, rng.integers(1, 4)).tolist(),
            "venue": str(rng.choice(verbs)),
        }
        for _ in range(200)
    ]
    (folder / "papers.jsonl").write_text("".join(json.dumps(p) + "\n" for p in papers))
    (folder / "vectors").mkdir()
    (folder / "vectors" / "entities.txt").write_text("".join(f"{n}\n" for n in nouns))
    save_file({"backbone.embed.weight": rng.standard_normal((8, 100))}, folder / "vectors" / "model.safetensors")
    pairs = [{"text": (said := sentence(rng)), "second": " ".join(said.split()[::-1])} for _ in range(300)]
    (folder / "parallel.jsonl").write_text("".join(json.dumps(t) + "\n" for t in pairs))
    asked = [
        {
            "text": sentence(rng),
            "second": sentence(rng),
            "label": int(rng.integers(3)),
            "choices": [sentence(rng), sentence(rng), sentence(rng)],
        }
        for _ in range(200)
    ]
    for part, rows in (("train", asked[:160]), ("valid", asked[160:])):
        (folder / f"table.{part}.jsonl").write_text("".join(json.dumps(t) + "\n" for t in rows))
    import pyarrow as pa
    import pyarrow.parquet as pq

    colours = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "grey": (120, 120, 120)}
    rows = []
    for i in range(120):
        name = list(colours)[i % 4]
        pixels = np.clip(np.array(colours[name]) + rng.integers(-25, 25, (64, 64, 3)), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        rows.append({"image": file.getvalue(), "label": name, "text": f"a {name} square number {i}"})
    pq.write_table(pa.Table.from_pylist(rows), folder / "pictures.parquet")
    return folder


LISTS = {
    "text": {"entities": "entities.tsv", "phrases": "phrases.txt", "vectors": "vectors"},
    "triples": {"descriptions": "described.tsv"},
    "fields": {},
}


@pytest.fixture(scope="session")
def stores(raw, tmp_path_factory):
    """stores(recipe) -> its stores, each made from toy data with the recipe's own kind of tokenizer."""
    folder, made = tmp_path_factory.mktemp("stores"), {}

    def store(reads: str, tokenizer, size: int) -> Store:
        wanted = None if tokenizer is None else tokenizer.model_dump() | {"vocab": VOCAB + tokenizer.sentinels}
        key = json.dumps([reads, wanted, size])
        if key not in made:
            config = (
                None if wanted is None or reads == "images" else find("tokenizers", wanted["kind"]).Config(**wanted)
            )
            files = {
                "text": "text.jsonl",
                "triples": "triples.tsv",
                "fields": "papers.jsonl",
                "parallel": "parallel.jsonl",
                "table": "table.train.jsonl",
            }
            file = raw / files.get(reads, "pictures.parquet")
            if reads in ("triples", "parallel", "table") and config is not None:  # in the words of the text beside them
                config = load_tokenizer(store("text", tokenizer, size).path)
            out = folder / str(len(made))
            listed = {name: raw / file for name, file in LISTS.get(reads, {}).items()}
            options = {"size": size} if reads not in LISTS else listed if config is not None else {}
            options |= {"fields": ["title", "authors", "venue"]} if reads == "fields" else {}
            folds = config is not None and getattr(config, "lowercase", False)
            options |= {"lang": "lang", "marks": "marks", "capitals": folds} if reads == "text" else {}
            options = {"second": "second"} if reads == "parallel" else options
            prepare([str(file)], out=out, kind=reads, tokenizer=config, valid_fraction=0.2, processes=1, **options)
            made[key] = Store.open(out)
        return made[key]

    def for_recipe(recipe) -> dict[str, Store]:
        size = 64 if "pairs" in recipe.data else 32
        return {n: store(find("data.sources", c.kind).reads, recipe.tokenizer, size) for n, c in recipe.data.items()}

    def with_tables(recipe) -> dict[str, Store | Table]:
        """Tables as they are, but for the first source, which brings the tokenizer."""
        reads = {n: find("data.sources", c.kind).reads for n, c in recipe.data.items()}
        bare = {n: Table.open(raw / "table.train.jsonl") for n, kind in list(reads.items())[1:] if kind == "table"}
        others = {n: c for n, c in recipe.data.items() if n not in bare}
        return for_recipe(recipe.model_copy(update={"data": others})) | bare

    return with_tables


@pytest.fixture
def toy():
    """toy("bert") -> the recipe at its smallest size, with short rows and a small batch: (tree, recipe)."""

    def make(name: str, *more: str) -> tuple[Tree, object]:
        plain = resolve(name)
        size = "tiny" if "tiny" in plain.keys.get("sizes", {}) else None
        sets = ["loop.batch=8", "loop.micro=8", "loop.precision=fp32", "loop.steps=6", "loop.workers=0"]
        for source, config in plain.keys["data"].items():
            if isinstance(config, dict) and "length" in config:
                sets.append(f"data.{source}.length=32")
            if isinstance(config, dict) and "streams" in config:
                sets.append(f"data.{source}.streams=8")  # as many as the batch has rows
        for i, objective in enumerate(resolve(name, size=size).keys["objectives"]):
            if "queue" in objective:
                sets.append(f"objectives.{i}.queue=8")  # full after one step, from which on it counts
        tree = resolve(name, size=size, sets=[*sets, *more])
        for stage in tree.keys.get("stages") or []:
            if "loop" in stage:
                stage["loop"] = {**stage["loop"], "steps": tree.keys["loop"]["steps"]}
        return tree, check(tree)

    return make


@pytest.fixture
def stage(toy, stores):
    """stage("bert") -> (the first stage of the toy, or the last, with its model, its feed and what was decided)."""

    def make(name: str, *sets: str, last: bool = False):
        tree, _ = toy(name, *sets)
        recipe = check(stage_trees(tree)[-1 if last else 0])
        job = Job(tree, stores(recipe), None)
        made = Stage(job, recipe, 0, device=torch.device("cpu"), ranks=ALONE)
        model = make_model(recipe, made.facts, seed=0)
        known = {"micro": recipe.loop.micro, "steps": recipe.loop.steps, "precision": "fp32"}
        return made, model, made.feeds(model, known)[0], known

    return make
