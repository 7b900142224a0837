"""Blocks of words against plain loops and the formulas of subsampling."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import Facts, RecipeError, find, keyed
from modeledge.data import Store, StoreWriter
from modeledge.data.sources.windows import keep_rates
from modeledge.recipe import schema
from modeledge.recipe.resolve import Tree

UNK, FIRST = 1, 4


def make(folder, documents, **settings):
    flat = np.concatenate([np.asarray(d) for d in documents])
    with StoreWriter(folder) as writer:
        writer.ragged("tokens", np.uint16, flat, np.array([len(d) for d in documents]))
        writer.finish(rows=len(documents), meta={})
    facts = Facts(vocab=int(flat.max()) + 1, special={"pad": 0, "unk": UNK}, words=(FIRST, int(flat.max()) + 1))
    facts.counts = np.bincount(flat, minlength=facts.vocab).astype(float)
    part = find("data.sources", "windows")
    return part(part.Config(kind="windows", **settings), Store.open(folder), facts), facts


def everything(source, seed=0):
    return source.rows(np.arange(len(source)), keyed(seed))


def test_without_subsampling_every_known_word_comes_once_and_in_order(tmp_path):
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 20, n) for n in rng.integers(1, 90, 40)]
    documents = [np.where(d < FIRST, UNK, d) for d in documents]  # a fifth of the words is unknown
    source, _ = make(tmp_path / "s", documents, length=32, sample=0, window=4)
    batch = everything(source)
    flat = np.concatenate(documents)
    assert len(source) == -(-len(flat) // 32)
    assert np.array_equal(batch.ids[batch.valid], flat[flat != UNK])
    assert (batch.ids[~batch.valid] == 0).all() and (batch.reach[~batch.valid] == 0).all()
    number = np.repeat(np.arange(len(documents)), [len(d) for d in documents])[flat != UNK]
    row = np.nonzero(batch.valid)[0]
    doc = batch.doc[batch.valid]
    same_row, new = row[1:] == row[:-1], number[1:] != number[:-1]
    assert np.array_equal((doc[1:] != doc[:-1])[same_row], new[same_row])


def test_reach_is_uniform_from_one_to_the_window(tmp_path):
    source, _ = make(tmp_path / "s", [np.full(100_000, 5)], length=1000, sample=0, window=5)
    reach = everything(source).reach.ravel()
    n = len(reach)
    assert (np.abs(np.bincount(reach, minlength=6)[1:] - n / 5) < 3 * np.sqrt(n * 0.2 * 0.8)).all()
    assert n == 100_000 and reach.min() == 1


@pytest.mark.parametrize("formula", ["tool", "paper"])
def test_words_are_kept_as_often_as_the_formula_says(tmp_path, formula):
    t, shares = 1e-3, np.array([0.9, 0.09, 0.0095, 0.0005])
    words = FIRST + np.repeat(np.arange(4), (shares * 200_000).astype(int))
    np.random.default_rng(1).shuffle(words)
    source, _ = make(tmp_path / "s", [words], length=1000, sample=t, keep=formula)
    batch = everything(source)
    kept = np.bincount(batch.ids[batch.valid], minlength=FIRST + 4)[FIRST:]
    root = np.sqrt(t / shares)
    p = np.minimum(1, root if formula == "paper" else (np.sqrt(shares / t) + 1) * t / shares)
    n = np.bincount(words)[FIRST:]
    assert (np.abs(kept - n * p) <= 3 * np.sqrt(n * p * (1 - p)) + 1e-9).all()


def test_the_two_formulas_differ_and_leave_rare_words_alone():
    counts = np.array([0.0, 1e6, 1e4, 1.0])
    tool, paper = (keep_rates(counts, sample=1e-3, formula=f) for f in ("tool", "paper"))
    assert (tool[1:3] > paper[1:3]).all() and tool[3] == paper[3] == 1 and tool[0] == paper[0] == 0
    assert (keep_rates(counts, sample=0, formula="tool") == [0, 1, 1, 1]).all()


def test_the_same_key_gives_the_same_rows_whatever_stands_beside_them(tmp_path):
    words = np.random.default_rng(2).integers(FIRST, 30, 3000)
    source, _ = make(tmp_path / "s", [words], length=50, sample=0.05)
    one, two = everything(source, 3), everything(source, 3)
    assert all(np.array_equal(one[k], two[k]) for k in one)
    assert not np.array_equal(one.reach, everything(source, 4).reach[:, : one.reach.shape[1]])


def test_a_window_of_zero_is_refused_with_its_place():
    keys = {
        "data": {"text": {"kind": "windows", "window": 0}},
        "backbone": {"kind": "table"},
        "objectives": [{"kind": "cbow"}],
    }
    with pytest.raises(RecipeError, match=r"data.text.*window.*greater than or equal to 1"):
        schema.check(Tree("test", keys))
