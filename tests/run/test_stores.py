"""Stores made on the way: what is opened again is what was asked for."""

from __future__ import annotations

import json

import pytest

from modeledge.core import InputError
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run.pretrain import pretrain
from modeledge.run.progress import Silent
from modeledge.run.stores import open_or_make


@pytest.fixture
def texts(tmp_path):
    """Two files of as many documents that differ in one word."""
    for name, word in (("one", "river"), ("other", "field")):
        rows = [json.dumps({"text": f"Sentence {i} tells of the {word}."}) + "\n" for i in range(300)]
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    return tmp_path


def opened(texts, name, *, vocab=60, recipe="bert", out="cache"):
    recipe = check(resolve(recipe, sets=[f"tokenizer.vocab={vocab}"]))
    return open_or_make(texts / f"{name}.jsonl", recipe, "text", cache=texts / out, progress=Silent())


def read(store):
    from modeledge.tokenizers import load_tokenizer

    return load_tokenizer(store.path).decode(store["tokens"][:20])


def test_other_files_and_other_tokenizers_are_other_stores_and_the_same_ones_are_made_once(texts):
    assert "river" in read(opened(texts, "one")) and "field" in read(opened(texts, "other"))
    assert opened(texts, "one", vocab=40).meta["vocab"] == 40 and opened(texts, "one").meta["vocab"] > 40
    assert opened(texts, "one", recipe="roberta", vocab=300).meta["tokenizer"] == "byte_bpe"
    assert len(list((texts / "cache").iterdir())) == 4
    (texts / "one.jsonl").rename(texts / "moved.jsonl")
    assert opened(texts, "moved").path == opened(texts, "moved").path
    assert len(list((texts / "cache").iterdir())) == 4
    (texts / "moved.jsonl").write_bytes((texts / "other.jsonl").read_bytes())
    assert "field" in read(opened(texts, "moved"))


def test_a_try_that_failed_leaves_nothing_for_the_next_one_to_train_on(texts, toy):
    sets = [*toy, "loop.steps=1", "tokenizer.vocab=100"]
    with pytest.raises(InputError):
        pretrain("bert", data=[str(texts / "other.jsonl")], out=texts / "run", sets=sets, device="cup", quiet=True)
    done = pretrain("bert", data=[str(texts / "one.jsonl")], out=texts / "run", sets=sets, quiet=True).done
    counted = {done.facts.tokenizer.decode([i]): n for i, n in enumerate(done.facts.counts)}
    assert "river" in counted and "field" not in counted


@pytest.mark.contract
def test_going_on_with_other_raw_files_is_refused(texts, toy):
    sets = [*toy, "loop.steps=2", "tokenizer.vocab=100"]
    pretrain("bert", data=[str(texts / "one.jsonl")], out=texts / "run", sets=sets, quiet=True)
    with pytest.raises(InputError, match=r"data of 'text' has changed|used the tokenizer"):
        pretrain("bert", data=[str(texts / "other.jsonl")], out=texts / "run", sets=sets, resume=True, quiet=True)
    pretrain("bert", data=[str(texts / "one.jsonl")], out=texts / "run", sets=sets, resume=True, quiet=True)
