"""Sentences with phrases in another language, where the languages are a cipher of each other."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import Facts, find, keyed
from modeledge.data.store import Store, StoreWriter

SPECIAL = {"pad": 1, "unk": 3, "cls": 0, "sep": 2, "mask": 4}
FACTS = Facts(vocab=300, special=SPECIAL, words=(5, 300))
WORDS = 40


def spell(word, side):
    """One or two tokens a word; no token is in both languages."""
    first = 10 + 140 * side + 3 * word
    return [first, first + 1] if (word + side) % 3 == 0 else [first]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Sentences of distinct words and, word for word from the back, what they are in the other language."""
    rng, folder = keyed("switched"), tmp_path_factory.mktemp("pairs") / "store"
    rows = [rng.choice(WORDS, rng.integers(4, 11), replace=False).tolist() for _ in range(600)]
    with StoreWriter(folder) as writer:
        for part, some in ((writer, rows[:500]), (writer.valid(), rows[500:])):
            for side, name in enumerate(("tokens", "second")):
                said = [[spell(w, side) for w in (r if side == 0 else r[::-1])] for r in some]
                flat = [t for r in said for w in r for t in w]
                starts = [k == 0 for r in said for w in r for k in range(len(w))]
                part.ragged(name, np.uint16, np.array(flat), np.array([sum(map(len, r)) for r in said]))
                part.column("word_starts" if side == 0 else "second_word_starts", bool).append(np.array(starts))
        writer.finish(rows=500, valid_rows=100, meta={"kind": "parallel"})
    return Store.open(folder), rows


def source(store, split="train", **settings):
    part = find("data.sources", "code_switched")
    return part(part.Config(kind="code_switched", **{"length": 32, **settings}), store, FACTS, split)


def read(ids):
    """Tokens as (word, language), each word spelt out."""
    found, ids = [], ids.tolist()
    while ids:
        side = int(ids[0] >= 150)
        word = (ids[0] - 10 - 140 * side) // 3
        said = spell(word, side)
        assert ids[: len(said)] == said
        found.append((word, side))
        ids = ids[len(said) :]
    return found


@pytest.mark.parametrize("split", ["train", "valid"])
def test_every_phrase_that_changed_its_language_is_its_translation_and_the_rest_stays(pairs, split):
    store, rows = pairs
    rows, made = rows[:500] if split == "train" else rows[500:], source(store, split, rate=0.4)
    batch = made.rows(np.arange(len(made)), keyed(1))
    for i in range(len(made)):
        inside = ~batch.special[i]
        said, main = read(batch.ids[i][inside]), i % 2
        text = rows[i // 2] if main == 0 else rows[i // 2][::-1]
        at = 0  # a phrase of the other language has the same words, in the other order
        while at < len(said):
            end = at + 1
            while said[at][1] != main and end < len(said) and said[end][1] != main:
                end += 1
            assert sorted(w for w, _ in said[at:end]) == sorted(text[at:end])
            at = end
        assert len(said) == len(text)
        lang = np.repeat([side for _, side in said], [len(spell(*word)) for word in said])
        assert batch.lang[i][inside].tolist() == lang.tolist()
        starts = [k == 0 for word in said for k in range(len(spell(*word)))]
        assert batch.word_starts[i][inside].tolist() == starts


def test_the_share_of_words_that_change_is_the_rate_in_either_language(pairs):
    made = source(pairs[0], rate=0.3)
    batch = made.rows(np.arange(len(made)), keyed(2))
    words = batch.word_starts & ~batch.special
    for main in (0, 1):
        mine = words[main::2]
        changed = mine & (batch.lang[main::2] != main)
        assert changed.sum() / mine.sum() == pytest.approx(0.3, abs=0.02)
    again = made.rows(np.arange(len(made)), keyed(3))
    assert (again.ids != batch.ids).any(axis=1).mean() > 0.9


def test_without_change_a_row_is_the_sentence_of_its_language(pairs):
    store, rows = pairs
    batch = source(store, rate=0.0, langs=(3, 1)).rows(np.arange(20), keyed(4))
    for i in range(20):
        text = rows[i // 2] if i % 2 == 0 else rows[i // 2][::-1]
        flat = [0, *(t for w in text for t in spell(w, i % 2)), 2]
        assert batch.ids[i][batch.valid[i]].tolist() == flat
        assert set(batch.lang[i]) == {(3, 1)[i % 2]}


def test_a_row_is_cut_to_its_length(pairs):
    batch = source(pairs[0], length=8, rate=0.5).rows(np.arange(100), keyed(5))
    assert batch.ids.shape == (100, 8) and (batch.ids[:, 0] == 0).all()
    valid = batch.get("valid", np.ones((100, 8), bool))
    assert (np.take_along_axis(batch.ids, valid.sum(1)[:, None] - 1, 1) == 2).all()


def test_a_batch_reads_of_words_and_phrases_no_more_than_its_own(pairs, column):
    made = source(pairs[0])
    wanted = made.cut(np.arange(8), keyed(0))
    made.phrases = [found._replace(first=column(found.first)) for found in made.phrases]
    made.words = [words._replace(first=column(words.first)) for words in made.words]
    assert np.array_equal(made.cut(np.arange(8), keyed(0)).ids, wanted.ids)
