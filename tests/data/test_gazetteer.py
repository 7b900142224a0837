"""Mentions found in text, held against a plain walk over words."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import DataError, find, keyed
from modeledge.data import Store, facts_of
from modeledge.data._gazetteer import Gazetteer, read_entities
from modeledge.data.prepare import prepare

FORMS = {"river": "Q1", "the river": "Q2", "the river ran": "Q3", "ran high after": "Q4", "mill": "Q5", "boat": "Q6",
         "small boat drifted": "Q6", "market": "Q7", "it was": "Q8"}  # fmt: skip


def walk(words: list[str], forms: dict[str, int]) -> list[tuple[int, int, int]]:
    """(first word, after the last, number) by reading from the left and taking the longest at each place."""
    found, at = [], 0
    while at < len(words):
        ends = [end for end in range(len(words), at, -1) if " ".join(words[at:end]) in forms]
        if ends:
            found.append((at, ends[0], forms[" ".join(words[at : ends[0]])]))
        at = ends[0] if ends else at + 1
    return found


@pytest.fixture
def listed(tmp_path):
    (tmp_path / "entities.tsv").write_text("".join(f"{form}\t{name}\n" for form, name in FORMS.items()))
    return tmp_path / "entities.tsv"


def test_the_longest_mention_from_the_left_wins_as_in_a_walk_over_words(tokenizer):
    rng, vocabulary = (
        np.random.default_rng(0),
        ["the", "river", "ran", "high", "after", "boat", "mill", "small", "drifted", "x"],
    )
    numbers = {form: i for i, form in enumerate(FORMS)}
    gazetteer = Gazetteer(list(FORMS), list(numbers.values()), tokenizer)
    total = 0
    for _ in range(60):
        sentences = [[str(w) for w in rng.choice(vocabulary, rng.integers(1, 9))] for _ in range(3)]
        encoded = [tokenizer.encode_words([s])[0] for s in sentences]
        tokens = np.concatenate([e.ids for e in encoded])
        sizes = [len(e.ids) for e in encoded]
        begins = np.cumsum([0, *sizes[:-1]])
        words = tokenizer.word_starts(tokens)
        words[begins] = True
        marks, starts = gazetteer.find(tokens, words, begins)
        wanted, first = np.full(len(tokens), -1), np.zeros(len(tokens), bool)
        for begin, e, s in zip(begins, encoded, sentences, strict=True):
            for a, b, number in walk(s, numbers):
                inside = begin + np.flatnonzero((e.words >= a) & (e.words < b))
                wanted[inside], first[inside[0]] = number, True
                total += 1
        assert marks.tolist() == wanted.tolist() and starts.tolist() == first.tolist()
    assert total > 100


def test_a_mention_does_not_begin_or_end_inside_a_word(tokenizer):
    gazetteer = Gazetteer(["boat"], [0], tokenizer)
    for text, hit in (("a boat here", True), ("a boathouse here", False), ("a steamboat here", False)):
        ids = tokenizer.encode_batch([text])[0]
        marks, _ = gazetteer.find(ids, tokenizer.word_starts(ids), np.zeros(1, np.int64))
        assert (marks >= 0).any() == hit, text


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe", "unigram", "bpe"])
def test_columns_say_what_each_token_belongs_to_with_every_tokenizer(tmp_path, listed, document, kind):
    text = "The river ran high. (the river ran) A small boat drifted past the mill. market"
    if kind == "unigram":  # does not part a bracket from the word it stands before
        text = text.replace("(", "( ")
    (tmp_path / "t.txt").write_text(text)
    (tmp_path / "p.txt").write_text("small boat\npast the mill\n")
    part = find("tokenizers", kind)
    trained = part(part.Config(kind=kind, vocab=400, lowercase=True)).train(
        iter([document(n) for n in range(40)] + [text])
    )
    lists = {"entities": listed, "phrases": tmp_path / "p.txt"}
    prepare(tmp_path / "t.txt", out=tmp_path / "s", tokenizer=trained, valid_fraction=0, **lists)
    store = Store.open(tmp_path / "s")
    names = facts_of(store).names
    tokens, marks, starts = store["tokens"], store["entities"], store["entity_starts"]
    mentions = [np.arange(len(tokens))[i:] for i in np.flatnonzero(starts & (marks >= 0))]
    said = []
    for rest in mentions:
        size = int(np.argmin(np.append((marks[rest] == marks[rest[0]]) & ((rest == rest[0]) | ~starts[rest]), False)))
        said.append((trained.decode(tokens[rest[:size]]).strip().lower(), names[marks[rest[0]]]))
    assert said == [
        ("the river ran", "Q3"),
        ("the river ran", "Q3"),
        ("small boat drifted", "Q6"),
        ("mill", "Q5"),
        ("market", "Q7"),
    ]
    assert (starts[marks < 0] >= store["word_starts"][marks < 0]).all()  # words outside begin as they did
    units = np.split(tokens, np.flatnonzero(store["phrase_starts"])[1:])
    assert {trained.decode(u).strip().lower() for u in units} >= {"small boat", "past the mill", "river", "drifted"}


def test_two_processes_mark_as_one_does(tmp_path, listed, document, tokenizer, monkeypatch):
    monkeypatch.setattr("modeledge.data._text.CHUNK", 200)
    (tmp_path / "t.txt").write_text("\n".join(document(n) for n in range(30)))
    for name, processes in (("a", 1), ("b", 2)):
        options = {"documents": "line", "processes": processes, "entities": listed}
        prepare(tmp_path / "t.txt", out=tmp_path / name, tokenizer=tokenizer, **options)
    one, two = (Store.open(tmp_path / n) for n in "ab")
    assert all(np.array_equal(one[c], two[c]) for c in one.columns) and (one["entities"] >= 0).sum() > 20
    assert one.valid is None or "entities" in one.valid


def test_batches_carry_the_marks_and_none_at_special_tokens(tmp_path, listed, document, tokenizer):
    (tmp_path / "t.txt").write_text("\n".join(document(n) for n in range(30)))
    options = {"documents": "line", "entities": listed, "phrases": listed, "valid_fraction": 0}
    prepare(tmp_path / "t.txt", out=tmp_path / "s", tokenizer=tokenizer, **options)
    store = Store.open(tmp_path / "s")
    facts = facts_of(store, tokenizer)
    by_token = dict(zip(store["tokens"].tolist(), store["entities"].tolist(), strict=True))
    for kind, extra in (
        ("segment_pair", {}),
        ("full_sentences", {}),
        ("contiguous", {"frame": True}),
        ("document", {}),
    ):
        part = find("data.sources", kind)
        batch = part(part.Config(kind=kind, length=48, **extra), store, facts).rows(np.arange(5), keyed("x"))
        assert (batch.entities[batch.special] == -1).all() and not batch.entity_starts[batch.special].any()
        assert (batch.entities >= 0).any() and not batch.phrase_starts[batch.special].any()
        for word in ("mill", "market"):  # entities by themselves, so the token alone decides
            token = tokenizer.encode_batch([word])[0]
            if len(token) == 1:
                assert set(batch.entities[batch.ids == token[0]].tolist()) <= {by_token[int(token[0])]}


def test_a_line_without_an_entity_is_refused_with_its_place(tmp_path):
    (tmp_path / "e.tsv").write_text("river\tQ1\nboat\n")
    with pytest.raises(DataError, match=r"e\.tsv:2: expected a surface form, a tab and an entity, found 'boat'"):
        read_entities(tmp_path / "e.tsv")
