"""Translations in one row or as two texts, sentences that change the language, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import Facts, find, keyed
from modeledge.data.store import Store, StoreWriter

SPECIAL = {"pad": 1, "unk": 3, "cls": 0, "sep": 2, "mask": 4, "bos": 0, "eos": 2}
FACTS = Facts(vocab=100, special=SPECIAL, words=(5, 100))


@pytest.fixture
def texts():
    rng = keyed("texts")
    return [[rng.integers(5, 100, rng.integers(2, 12)).tolist() for _ in range(80)] for _ in range(2)]


@pytest.fixture
def pairs(tmp_path, texts):
    with StoreWriter(tmp_path / "store") as writer:
        for name, rows in zip(("tokens", "second"), texts, strict=True):
            writer.ragged(name, np.uint16, np.concatenate(rows), np.array([len(r) for r in rows]))
        writer.finish(rows=len(texts[0]), valid_rows=0, meta={"kind": "parallel"})
    return Store.open(tmp_path / "store")


def source(store, kind, **settings):
    part = find("data.sources", kind)
    return part(part.Config(kind=kind, **settings), store, FACTS)


def test_a_joined_row_has_four_separators_and_its_second_half_counts_anew(pairs, texts):
    made = source(pairs, "translations", length=40, langs=(3, 1))
    index = np.arange(80)
    batch = made.rows(index, keyed(0))
    for i in index:
        a, b = texts[0][i], texts[1][i]
        row = [0, *a, 2, 0, *b, 2]
        n, m = len(a) + 2, len(b) + 2
        assert batch.ids[i].tolist() == row + [1] * (40 - len(row))
        assert batch.valid[i].sum() == n + m
        assert batch.positions[i, : n + m].tolist() == [*range(n), *range(m)]
        assert batch.lang[i, : n + m].tolist() == [3] * n + [1] * m
        assert np.flatnonzero(batch.special[i, : n + m]).tolist() == [0, n - 1, n, n + m - 1]
    assert "positions" not in source(pairs, "translations", length=40, positions="on").rows(index, keyed(0))


def test_long_pairs_are_cut_to_the_row_and_both_stay(pairs, texts):
    batch = source(pairs, "translations", length=14).rows(np.arange(80), keyed(0))
    for i, (a, b) in enumerate(zip(*texts, strict=True)):
        found = batch.ids[i][~batch.special[i]].tolist()
        if len(a) + len(b) <= 10:
            assert found == a + b
        else:
            n = int((batch.lang[i][~batch.special[i]] == 0).sum())
            assert len(found) == 10 and found == a[:n] + b[: 10 - n] and min(n, 10 - n) >= min(len(a), len(b), 5)


def test_a_batch_reads_of_the_pairs_no_more_than_its_own(pairs, column):
    made = source(pairs, "translations", length=40, negatives=0.5)
    wanted = made.cut(np.arange(4), keyed(0))
    made.first, made.second = column(made.first), column(made.second)
    assert np.array_equal(made.cut(np.arange(4), keyed(0)).ids, wanted.ids)


def test_two_texts_are_framed_each_by_itself(pairs, texts):
    batch = source(pairs, "translations", length=20, layout="apart").rows(np.arange(80), keyed(0))
    for i in range(80):
        for side in (0, 1):
            assert batch.ids[i, side][batch.valid[i, side]].tolist() == [0, *texts[side][i], 2]
            assert (batch.lang[i, side] == side).all()


def test_half_are_no_translations_and_these_are_of_like_length(pairs, texts):
    made = source(pairs, "translations", length=40, negatives=0.5, near=20)
    draws, wrong, gaps = 0, 0, []
    for seed in range(40):
        batch = made.rows(np.arange(80), keyed(seed))
        for i in range(80):
            second = batch.ids[i][(batch.lang[i] == 1) & ~batch.special[i]].tolist()
            assert (second != texts[1][i]) == bool(batch.is_next[i])
            if batch.is_next[i]:
                gaps.append(abs(len(second) - len(texts[1][i])))
        draws, wrong = draws + 80, wrong + int(batch.is_next.sum())
    assert abs(wrong - draws / 2) < 3 * np.sqrt(draws / 4)
    lengths = np.array([len(t) for t in texts[1]])
    anyone = np.abs(lengths[:, None] - lengths).mean()
    assert np.mean(gaps) < 0.5 * anyone


def plain_store(folder, seconds):
    with StoreWriter(folder) as writer:
        for name in ("tokens", "second"):
            writer.ragged(name, np.uint16, np.concatenate(seconds), np.array([len(r) for r in seconds]))
        writer.finish(rows=len(seconds), valid_rows=0, meta={"kind": "parallel"})
    return Store.open(folder)


def test_a_wrong_translation_is_one_of_those_that_share_most_with_the_right_one(tmp_path):
    rng = keyed("families")
    families = [rng.choice(np.arange(10, 100), 6, replace=False) for _ in range(12)]
    seconds = [np.append(family, 5 + i % 5)[: 5 + i % 3].tolist() for family in families for i in range(5)]
    order = rng.permutation(60)
    made = source(plain_store(tmp_path / "s", [seconds[i] for i in order]), "translations", length=40, negatives=1.0,
                  near=59, hard=3)  # fmt: skip
    batch = made.rows(np.tile(np.arange(60), 10), keyed(0))
    counts = np.bincount(np.concatenate(seconds), minlength=100)
    worth = np.log(counts.sum() / np.maximum(counts, 1))
    said = [seconds[i] for i in order]
    for row in range(600):
        mine = said[row % 60]
        found = batch.ids[row][(batch.lang[row] == 1) & ~batch.special[row]].tolist()
        if not batch.is_next[row]:
            continue
        gains = sorted(-worth[sorted(set(mine) & set(other))].sum() for other in said if other != mine)
        assert found != mine and -worth[sorted(set(mine) & set(found))].sum() <= gains[2] + 1e-9
    assert batch.is_next.mean() == 1


def test_a_second_text_that_says_the_same_is_never_called_wrong(tmp_path):
    twice = plain_store(tmp_path / "s", [[7, 8, 9]] * 5 + [[7, 8, 10]])
    batch = source(twice, "translations", length=20, negatives=1.0).rows(np.arange(6).repeat(20), keyed(0))
    second = [batch.ids[i][(batch.lang[i] == 1) & ~batch.special[i]].tolist() for i in range(120)]
    assert batch.is_next.all() and second[:100] == [[7, 8, 10]] * 100 and second[100:] == [[7, 8, 9]] * 20
    alone = plain_store(tmp_path / "t", [[7, 8, 9]] * 4)
    assert not source(alone, "translations", length=20, negatives=1.0).rows(np.arange(4), keyed(0)).is_next.any()


def test_sentences_take_turns_in_their_languages(pairs, texts):
    made = source(pairs, "alternating", length=30)
    streams = [[], []]
    for turn in (0, 1):
        for i in range(80):
            side = (i + turn) % 2
            streams[turn] += [(token, side) for token in texts[side][i]]
    batch = made.rows(np.arange(len(made)), keyed(0))
    for r in range(len(made)):
        wanted = streams[r % 2][r // 2 * 28 : r // 2 * 28 + 28]
        assert list(zip(batch.ids[r, 1:-1].tolist(), batch.lang[r, 1:-1].tolist(), strict=True)) == wanted
        assert (batch.ids[r, 0], batch.ids[r, -1]) == (0, 2)
    assert len(made) == 2 * (min(map(len, streams)) // 28)


def test_every_token_knows_the_language_of_its_document(tmp_path):
    rng = keyed("documents")
    documents = [rng.integers(5, 100, rng.integers(3, 20)).tolist() for _ in range(60)]
    lang = rng.integers(0, 3, 60)
    told = {}
    with StoreWriter(tmp_path / "store") as writer:
        writer.ragged("tokens", np.uint16, np.concatenate(documents), np.array([len(d) for d in documents]))
        starts = np.cumsum([0] + [len(d) for d in documents])[:-1]
        writer.column("sentences", np.int64).append(starts)
        writer.column("lang", np.uint16).append(lang.astype(np.uint16))
        writer.finish(rows=60, valid_rows=0, meta={"kind": "text"})
    store = Store.open(tmp_path / "store")
    wanted = [(token, int(n)) for d, n in zip(documents, lang, strict=True) for token in d]
    for kind in ("full_sentences", "contiguous"):
        made = source(store, kind, length=24)
        batch = made.rows(np.arange(len(made)), keyed(0))
        real = ~batch.special & batch.get("valid", True)
        told[kind] = list(zip(batch.ids[real].tolist(), batch.lang[real].tolist(), strict=True))
    assert told["full_sentences"] == wanted
    assert told["contiguous"] == wanted[: len(told["contiguous"])] and len(told["contiguous"]) > 400
