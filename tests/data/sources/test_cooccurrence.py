"""Counts of neighbours against a plain loop over the text."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from modeledge.core import DataError, Facts, find, keyed
from modeledge.data import Store, StoreWriter
from modeledge.data.sources import cooccurrence
from modeledge.data.sources.cooccurrence import cooccurrences

V, UNK = 20, 1


def texts(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(UNK, V, n) for n in rng.integers(1, 60, 30)]


def plain(documents, window):
    """{(word, other): sum of 1/distance}, both ways, unknown words dropped first."""
    found = defaultdict(float)
    for document in documents:
        known = [int(w) for w in document if w != UNK]
        for i, word in enumerate(known):
            for apart in range(1, min(window, i) + 1):
                found[word, known[i - apart]] += 1 / apart
                found[known[i - apart], word] += 1 / apart
    return found


def make(folder, documents, *, valid=None, split="train", **settings):
    with StoreWriter(folder) as writer:
        writer.ragged("tokens", np.uint16, np.concatenate(documents), np.array([len(d) for d in documents]))
        if valid is not None:
            inner = writer.valid()
            inner.ragged("tokens", np.uint16, np.concatenate(valid), np.array([len(d) for d in valid]))
        writer.finish(rows=len(documents), meta={}, valid_rows=len(valid or []))
    facts = Facts(vocab=V, special={"pad": 0, "unk": UNK}, words=(2, V))
    facts.counts = np.bincount(np.concatenate(documents), minlength=V).astype(float)
    part = find("data.sources", "cooccurrence")
    return part(part.Config(kind="cooccurrence", **settings), Store.open(folder), facts, split)


@pytest.mark.parametrize("at_once", [7, 64, 10**6])
def test_the_matrix_is_that_of_a_plain_loop_however_the_text_is_cut(monkeypatch, at_once):
    monkeypatch.setattr(cooccurrence, "AT_ONCE", at_once)
    documents = texts()
    kept = np.arange(V) > UNK
    found = cooccurrences(np.concatenate(documents), np.array([len(d) for d in documents]), kept=kept, window=4)
    expected = plain(documents, 4)
    assert {(int(i), int(j)) for i, j in zip(found.words, found.others, strict=True)} == set(expected)
    for i, j, x in zip(found.words, found.others, found.counts, strict=True):
        assert x == pytest.approx(expected[int(i), int(j)])


def test_a_symmetric_window_gives_a_symmetric_matrix():
    documents = texts(1)
    found = cooccurrences(
        np.concatenate(documents), np.array([len(d) for d in documents]), kept=np.arange(V) > UNK, window=3
    )
    dense = np.zeros((V, V))
    dense[found.words, found.others] = found.counts
    assert np.allclose(dense, dense.T) and dense[UNK].sum() == 0


def test_an_epoch_has_each_cell_once_and_spare_places_count_nothing(tmp_path):
    source = make(tmp_path / "s", texts(), length=32, window=4)
    batch = source.rows(np.arange(len(source)), keyed(0))
    there = batch.together > 0
    pairs = list(zip(batch.ids[there].tolist(), batch.others[there].tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) == len(plain(texts(), 4))
    assert len(source) == -(-len(pairs) // 32) and (~there).sum() == len(source) * 32 - len(pairs)


def test_held_out_counts_have_the_size_of_the_training_text(tmp_path):
    train, valid = texts(0), texts(1)[:10]
    held = make(tmp_path / "s", train, valid=valid, split="valid", length=32, window=4)
    known = [sum((d != UNK).sum() for d in part) for part in (train, valid)]
    assert held.counts.sum() == pytest.approx(sum(plain(valid, 4).values()) * known[0] / known[1], rel=1e-5)


def test_a_text_of_single_words_is_refused(tmp_path):
    with pytest.raises(DataError, match="no two known words"):
        make(tmp_path / "s", [np.array([3]), np.array([UNK, 4])], length=32)
