"""Dialogues and ERNIE 2.0's rows: every label is found again in the documents by plain loops."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from modeledge.core import DataError, Facts, RecipeError, find, keyed
from modeledge.data import Store, StoreWriter
from modeledge.data.sources.dialogue import fit
from modeledge.data.sources.reordered import orders

PAD, CLS, SEP = 0, 1, 2


def all_rows(source, seed=0):
    return source.rows(np.arange(len(source)), keyed(seed))


def parts(row):
    """The tokens between separators."""
    ids = [t for t in row.tolist() if t != PAD]
    assert ids[0] == CLS and ids[-1] == SEP
    cuts = [0, *(i for i, t in enumerate(ids) if t == SEP)]
    return [ids[a + 1 : b] for a, b in itertools.pairwise(cuts)]


def written(folder, documents, **columns):
    """A store of documents, each a list of sentences."""
    flat = [s for d in documents for s in d]
    with StoreWriter(folder) as writer:
        writer.ragged("tokens", np.uint16, np.concatenate(flat), np.array([sum(map(len, d)) for d in documents]))
        sizes = np.array([len(s) for s in flat])
        writer.column("sentences", np.int64).append(np.cumsum(sizes) - sizes)
        writer.column("word_starts", bool).append(np.ones(sizes.sum(), bool))
        for name, values in columns.items():
            writer.column(name, values.dtype).append(values)
        writer.finish(rows=len(documents), meta={})
    return Store.open(folder)


@pytest.fixture
def repeating(tmp_path):
    """Documents of few words, and a row's source over them."""
    rng = keyed("repeating")
    documents = [[rng.integers(5, 60, rng.integers(2, 9)) for _ in range(rng.integers(1, 14))] for _ in range(40)]
    store = written(tmp_path / "s", documents, capitals=rng.random(sum(len(s) for d in documents for s in d)) < 0.2)
    facts = Facts(vocab=60, special={"pad": PAD, "cls": CLS, "sep": SEP}, words=(5, 60))

    def source(kind, **settings):
        part = find("data.sources", kind)
        return part(part.Config(kind=kind, **settings), store, facts)

    return documents, source


def test_a_token_recurs_if_its_document_has_it_outside_the_row(repeating):
    documents, source = repeating
    made = source("in_document", length=20)
    batch = all_rows(made)
    texts = [np.concatenate(d).tolist() for d in documents]
    row, seen = 0, Counter()
    for text in texts:
        while row < batch.size:
            (own,) = parts(batch.ids[row])
            at = sum(len(parts(batch.ids[r])[0]) for r in range(row) if seen[r] == id(text))
            if text[at : at + len(own)] != own:
                break
            rest = text[:at] + text[at + len(own) :]
            wanted = [False] + [t in rest for t in own]
            assert batch.recurs[row].tolist() == wanted + [False] * (20 - len(wanted))
            seen[row] = id(text)
            row += 1
            if at + len(own) == len(text):
                break
    assert row == batch.size == len(made)


def test_there_are_as_many_orders_as_the_factorials_add_up_to():
    for most in range(2, 7):
        found = orders(most)
        assert len(found) == sum(math.factorial(n) for n in range(1, most + 1))
        assert (np.sort(found, axis=1) == np.arange(most)).all()
    assert orders(3).tolist() == [
        [0, 1, 2], [0, 1, 2], [1, 0, 2], [0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0],
    ]  # fmt: skip


def test_pieces_put_back_by_the_label_are_the_row_as_it_was(corpus):
    made = corpus()
    plain, moved = (made.source(kind, length=40) for kind in ("doc_sentences", "reordered"))
    before, after = all_rows(plain), all_rows(moved)
    whole, drawn = {tuple(s) for d in made.documents for s in d}, Counter()
    for row in range(before.size):
        own, shown = parts(before.ids[row])[0], parts(after.ids[row])[0]
        assert sorted(own) == sorted(shown)
        order = orders(3)[after.arrangement[row]].tolist()
        count = next(n for n in (1, 2, 3) if after.arrangement[row] < sum(math.factorial(k) for k in range(1, n + 1)))
        ways = {
            tuple(t for p in order[:count] for t in own[cuts[p] : cuts[p + 1]])
            for inner in itertools.combinations(range(1, len(own)), count - 1)
            for cuts in [(0, *inner, len(own))]
        }
        assert tuple(shown) in ways
        starts = np.flatnonzero(after.sentence_starts[row]).tolist()
        pieces = [tuple(after.ids[row, a:b].tolist()) for a, b in itertools.pairwise([*starts, len(shown) + 1])]
        assert all(p in whole for p in pieces if len(p) < 38)  # sentences stay whole, and their marks with them
        words = {t: w for t, w in zip(before.ids[row].tolist(), before.word_starts[row], strict=True)}
        assert all(words[t] == w for t, w in zip(after.ids[row].tolist(), after.word_starts[row], strict=True))
        drawn[count] += len(starts) >= 3
    assert set(drawn) == {1, 2, 3}


def test_the_orders_of_long_rows_are_drawn_evenly_by_the_number_of_pieces(corpus):
    made = corpus([[3] * 8] * 60).source("reordered", length=32)
    found = np.concatenate([all_rows(made, seed).arrangement for seed in range(60)])
    n = len(found)
    for order in range(9):
        share = 1 / 3 / (1 if order == 0 else 2 if order < 3 else 6)
        assert abs((found == order).mean() - share) < 3.5 * (share * (1 - share) / n) ** 0.5


def test_distances_are_those_of_the_sentences_in_their_documents(corpus):
    made = corpus()
    source = made.source("sentence_distance", length=40)
    place = {tuple(s): (d, i) for d, document in enumerate(made.documents) for i, s in enumerate(document)}
    counts = Counter()
    for seed in range(12):
        batch = all_rows(source, seed)
        for row in range(batch.size):
            (d, i), (e, j) = (place[tuple(part)] for part in parts(batch.ids[row]))
            assert batch.distance[row] == (2 if d != e else 0 if j == i + 1 else 1)
            assert d != e or j == i + 1 or abs(i - j) > 1
            counts[int(batch.distance[row])] += 1
    n = sum(counts.values())
    assert all(abs(c / n - 1 / 3) < 3.5 * (2 / 9 / n) ** 0.5 for c in counts.values())
    usable = sum(1 for d in made.documents for i in range(len(d) - 1) if len(d) - (3 if i else 2) > 0)
    assert len(source) == usable


class Letters:
    """A tokenizer of one token a character."""

    def encode_batch(self, texts):
        return [np.array([ord(c) for c in text], np.int32) for text in texts]


def test_a_marker_is_found_taken_away_and_named(tmp_path):
    documents = [
        ["ab", "so,cd", "then,so,ef", "soxgh"],
        ["so,ij", "kl", "so then,mn", "so,", "thus,op"],
        ["qr", "thus,"],
    ]
    ids = [[np.array([ord(c) for c in s]) for s in d] for d in documents]
    facts = Facts(vocab=128, special={"pad": PAD, "cls": CLS, "sep": SEP}, words=(5, 128), tokenizer=Letters())
    store, part = written(tmp_path / "s", ids), find("data.sources", "discourse")
    source = part(part.Config(kind="discourse", length=32, markers=("so", "then", "so then", "thus")), store, facts)
    batch = all_rows(source)
    found = [("".join(map(chr, a)), "".join(map(chr, b))) for a, b in map(parts, batch.ids)]
    assert found == [("ab", "cd"), ("so,cd", "so,ef"), ("kl", "mn"), ("so,", "op")]
    assert batch.discourse.tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match="no sentence begins with one of 2 markers"):
        part(part.Config(kind="discourse", length=32, markers=("but", "yet")), store, facts)


def test_dialogues_are_turns_in_a_row_of_which_one_may_be_anothers(corpus):
    made = corpus()
    source = made.source("dialogue", length=60)
    place = {tuple(s): (d, i) for d, document in enumerate(made.documents) for i, s in enumerate(document)}
    fakes, where = [], Counter()
    for seed in range(8):
        batch = all_rows(source, seed)
        for row in range(batch.size):
            turns = [place[tuple(part)] for part in parts(batch.ids[row])]
            real = [t == (d, i + k) for d, i in [min(Counter(turns))] for k, t in enumerate(turns)]
            documents = Counter(d for d, _ in turns)
            assert len(documents) == 1 + batch.fake[row]
            if batch.fake[row]:
                home = documents.most_common(1)[0][0]
                where[[d for d, _ in turns].index(next(d for d in documents if d != home))] += 1
            else:
                assert all(real)
            roles = [2] * (len(parts(batch.ids[row])[0]) + 2)
            roles += [3] * (len(parts(batch.ids[row])[1]) + 1) + [2] * (len(parts(batch.ids[row])[2]) + 1)
            assert batch.segments[row].tolist() == roles + [0] * (60 - len(roles))
            fakes.append(int(batch.fake[row]))
    assert abs(np.mean(fakes) - 0.5) < 3 * (0.25 / len(fakes)) ** 0.5
    assert set(where) == {0, 1, 2}
    assert len(source) == sum(max(len(d) - 2, 0) for d in made.documents)


def test_long_turns_share_what_short_ones_leave():
    sizes = np.array([[3, 50, 4], [50, 50, 50], [1, 2, 3], [30, 30, 2]])
    assert fit(sizes, 30).tolist() == [[3, 23, 4], [10, 10, 10], [1, 2, 3], [14, 14, 2]]


def test_more_classes_in_the_data_than_in_the_recipe_is_an_error(corpus):
    part = find("objectives", "relation")
    from modeledge.core import build

    made = corpus()
    body = find("backbones", "transformer").Config(
        kind="transformer", width=8, layers=1, heads=1, ffn={"kind": "mlp", "width": 8}, pool="first"
    )
    backbone = build("backbones", body, made.facts)
    asked = part(part.Config(kind="relation", field="distance", classes=2), made.facts, backbone)
    with pytest.raises(RecipeError, match="its data has a class 2"):
        asked.counts(all_rows(made.source("sentence_distance", length=40)))
