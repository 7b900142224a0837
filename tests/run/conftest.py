"""A toy store and a toy size: every loop test trains a real recipe for a few steps in well under a second."""

from __future__ import annotations

import json

import numpy as np
import pytest

TOY = [
    "backbone.width=32",
    "backbone.layers=1",
    "backbone.heads=2",
    "backbone.ffn.width=64",
    "data.text={kind: full_sentences, length: 32}",
    "objectives=[{kind: mlm}]",
    "loop.batch=8",
    "loop.precision=fp32",
]

CLAIM = """
claim: More masks are better.
source: nobody
minutes: 1
data: {text: {files: [text.jsonl]}}
budget: 4steps
arms:
  few: {recipe: bert, sets: ["objectives=[{kind: mlm, rate: 0.1}]"]}
  many: {recipe: bert, sets: ["objectives=[{kind: mlm, rate: 0.4}]"]}
measures:
  loss: {kind: held_out, figure: mlm}
expect:
  - {measure: loss, arm: many, against: few, at_most: 0.0}
"""


def sentences(rng: np.random.Generator, n: int) -> str:
    nouns, verbs = ["dog", "cat", "bird", "fish", "horse"], ["sees", "hears", "likes", "follows"]
    places = ["garden", "house", "river", "field"]
    one = lambda: f"The {rng.choice(nouns)} {rng.choice(verbs)} the {rng.choice(nouns)} in the {rng.choice(places)}."  # noqa: E731
    return " ".join(one() for _ in range(n))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("corpus") / "text.jsonl"
    file.write_text("".join(json.dumps({"text": sentences(rng, int(rng.integers(3, 9)))}) + "\n" for _ in range(400)))
    return file


@pytest.fixture(scope="session")
def text_store(corpus, tmp_path_factory):
    from modeledge.core import find
    from modeledge.data.prepare import prepare

    out = tmp_path_factory.mktemp("stores") / "text"
    config = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=200)
    prepare([str(corpus)], out=out, tokenizer=config, valid_fraction=0.1, processes=1)
    return out


@pytest.fixture(scope="session")
def toy():
    """The overrides that make a recipe a toy."""
    return tuple(TOY)


@pytest.fixture
def train(text_store, tmp_path):
    """Pre-train the toy BERT: train("name", steps=12, sets=[...], ...) -> Outcome."""
    from modeledge.run.pretrain import pretrain

    def run(out="run", *, steps=12, sets=(), **options):
        wanted = [*TOY, f"loop.steps={steps}", *sets]
        return pretrain("bert", data=[str(text_store)], out=tmp_path / out, sets=wanted, quiet=True, **options)

    return run


@pytest.fixture
def losses(tmp_path):
    """The logged losses of a run, by step."""
    from modeledge.run.folder import read_metrics

    return lambda out="run": {r["step"]: r["loss"] for r in read_metrics(tmp_path / out) if "loss" in r}


@pytest.fixture
def claim_text():
    """The file of a claim with two arms and one measure."""
    return CLAIM
