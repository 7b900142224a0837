"""Segment and sentence pairs against the released builders' procedure, told as plain loops."""

from __future__ import annotations

import random

import numpy as np
import pytest

from modeledge.core import DataError, keyed
from modeledge.data.sources._frame import Range
from modeledge.data.sources._pairs import truncate

PAD, CLS, SEP = 0, 1, 2


def all_rows(source, seed=0):
    return source.rows(np.arange(len(source)), keyed(seed))


def parts(batch, row):
    """The tokens of A and of B."""
    ids = [t for t in batch.ids[row].tolist() if t != PAD]
    assert ids[0] == CLS and ids[-1] == SEP and ids.count(SEP) == 2
    cut = ids.index(SEP)
    assert batch.segments[row].tolist() == [0] * (cut + 1) + [1] * (len(ids) - cut - 1) + [0] * (
        batch.ids.shape[1] - len(ids)
    )
    return ids[1:cut], ids[cut + 1 : -1]


def released_builder(documents, room, rng, short=0.1):
    """For each pair, whether B is random and how many sentences were collected (BERT's procedure, sizes only)."""
    found = []
    for document in documents:
        target = rng.randint(2, room) if rng.random() < short else room
        at, held = 0, []
        while at < len(document):
            held.append(document[at])
            if at == len(document) - 1 or sum(held) >= target:
                in_a = rng.randint(1, len(held) - 1) if len(held) > 1 else 1
                is_random = len(held) == 1 or rng.random() < 0.5
                found.append((is_random, len(held)))
                at -= len(held) - in_a if is_random else 0
                held = []
            at += 1
    return found


@pytest.mark.parametrize(("sentences", "share"), [(3, 0.63), (10, 0.58), (30, 0.555)])
def test_the_share_of_random_pairs_is_that_of_the_released_builder(corpus, sentences, share):
    sizes = np.random.default_rng(1).integers(8, 33, (400, sentences)).tolist()
    batch = all_rows(corpus(sizes).source("segment_pair", length=128))
    told = np.mean([r for r, _ in released_builder(sizes * 10, 125, random.Random(0))])
    sigma = np.sqrt(told * (1 - told) / batch.size)
    assert abs(batch.is_next.mean() - told) < 3.5 * sigma
    assert abs(told - share) < 0.03 and told > 0.5


def test_positive_pairs_are_neighbours_and_random_ones_come_from_another_document(corpus):
    made = corpus([[5] * 6] * 40)
    where = {t: n for n, d in enumerate(made.documents) for s in d for t in s}
    batch = all_rows(made.source("segment_pair", length=40, short=0.0))
    for row in range(batch.size):
        a, b = parts(batch, row)
        if batch.is_next[row]:
            assert where[a[0]] != where[b[0]]
        else:
            assert where[a[0]] == where[b[0]] and b[0] > a[-1]
            if len(a) + len(b) < 37:
                assert b[0] == a[-1] + 1
        assert a == list(range(a[0], a[0] + len(a))) and b == list(range(b[0], b[0] + len(b)))
    assert {0, 1} == set(batch.is_next.tolist())


@pytest.mark.parametrize("kind", ["segment_pair", "sentence_pair", "sentence_distance", "dialogue"])
def test_what_is_random_is_of_another_document_of_the_same_language(corpus, kind):
    lang = np.random.default_rng(0).permutation([0] * 60 + [1] * 20 + [2] * 2).tolist()
    made = corpus([[4] * 8] * 82, lang=lang)
    where = {t: n for n, d in enumerate(made.documents) for s in d for t in s}
    source = made.source(kind, length=32)
    batch = source.rows(np.arange(len(source)).repeat(40), keyed(0))
    held = [sorted({where[t] for t in row if t in where}) for row in batch.ids.tolist()]
    mixed = [documents for documents in held if len(documents) == 2]
    assert len(mixed) > len(held) / 4 and max(map(len, held)) == 2
    assert all(lang[one] == lang[other] for one, other in mixed)
    small = [d for d, code in enumerate(lang) if code == 0]
    times = np.bincount(np.concatenate(mixed), minlength=82)[small]
    assert times.min() > 0.3 * times.mean()  # every document of the language is drawn


def test_a_document_alone_in_its_language_has_the_others(corpus):
    batch = all_rows(corpus([[4] * 40] * 3, lang=[0, 1, 2]).source("segment_pair", length=32))
    assert set(batch.is_next.tolist()) == {0, 1}


def test_swapped_pairs_come_from_one_document_and_half_are_swapped(corpus):
    made = corpus([[5] * 8] * 300)
    where = {t: n for n, d in enumerate(made.documents) for s in d for t in s}
    batch = all_rows(made.source("segment_pair", length=24, negative="swap", single="drop"))
    for row in range(batch.size):
        a, b = parts(batch, row)
        assert where[a[0]] == where[b[0]] and (a[0] > b[0]) == bool(batch.swapped[row])
    assert abs(batch.swapped.mean() - 0.5) < 3 * 0.5 / np.sqrt(batch.size)


def test_pairs_without_negatives_have_no_label_and_keep_their_order(corpus):
    batch = all_rows(corpus().source("segment_pair", length=24, negative="none"))
    assert not {"is_next", "swapped"} & set(batch)
    assert all(a[-1] < b[0] for a, b in (parts(batch, r) for r in range(batch.size)))


def test_every_sentence_is_read_as_a_first_segment_or_goes_into_a_positive_pair(corpus):
    made = corpus([[7] * 9] * 30)
    source = made.source("segment_pair", length=64, short=0.0)
    covered = np.zeros(len(source.bounds), int)
    for begin, end in zip(source.chunks.begin, source.chunks.end, strict=True):
        covered[begin:end] += 1
    assert covered[:-1].min() >= 1


def test_labels_and_cuts_differ_between_keys_and_repeat_with_the_same_key(corpus):
    source = corpus().source("segment_pair", length=32)
    one, same, other = all_rows(source, 1), all_rows(source, 1), all_rows(source, 2)
    assert all((one[k] == same[k]).all() for k in one)
    assert (one.is_next != other.is_next).any()


def test_static_pairs_come_back_whoever_stands_beside_them_and_only_so_many_are_there(corpus):
    source = corpus([[20, 30, 25, 40, 15, 8]] * 40).source("segment_pair", length=64, static=3)

    def read(index, epoch):
        draws = source.draws(np.asarray(index), np.full(len(index), epoch), "step", epoch)
        batch = source.rows(np.asarray(index), draws)
        return {i: (tuple(batch.ids[n]), int(batch.is_next[n])) for n, i in enumerate(index)}

    epochs = [read(range(len(source)), epoch) for epoch in range(6)]
    assert epochs[:3] == epochs[3:]
    assert all(read(some, 4).items() <= epochs[1].items() for some in ([7], [3, 0, 20], range(9, 30)))
    kinds = [len({epoch[i] for epoch in epochs}) for i in range(len(source))]
    assert max(kinds) == 3 and np.mean(kinds) > 2.5


@pytest.mark.parametrize("settings", [{"negative": "none"}, {"negative": "swap", "single": "drop"}])
def test_static_pairs_of_a_single_document_ask_for_no_other(corpus, settings):
    source = corpus([[20, 30, 25, 40]] * 1).source("segment_pair", length=64, static=2, **settings)
    assert len(all_rows(source).ids) == len(source)


def test_about_a_tenth_of_the_documents_make_short_rows(corpus):
    source = corpus([[10] * 12] * 2000).source("segment_pair", length=128)
    short = np.unique(source.chunks.document[source.chunks.target < 125]).size / 2000
    assert abs(short - 0.1 * 123 / 124) < 3 * np.sqrt(0.09 / 2000)


def test_passes_read_the_corpus_several_times_in_different_chunks(corpus):
    made = corpus()
    once, thrice = (made.source("segment_pair", length=32, passes=n) for n in (1, 3))
    assert 2.5 < len(thrice) / len(once) < 3.5


@pytest.mark.parametrize(("a", "b", "room"), [(10, 3, 8), (3, 10, 8), (10, 10, 9), (10, 10, 8), (2, 3, 9), (1, 50, 4)])
def test_truncation_takes_from_the_longer_part(a, b, room):
    n = 4000
    wide = [Range(np.zeros(n, np.int64), np.full(n, a)), Range(np.zeros(n, np.int64), np.full(n, b))]
    left, right = truncate(*wide, room, keyed(0))
    la, lb = a, b
    while la + lb > room:
        la, lb = (la - 1, lb) if la > lb else (la, lb - 1)
    assert (left.size == la).all() and (right.size == lb).all()
    for part, whole, kept in ((left, a, la), (right, b, lb)):
        cut = whole - kept
        assert abs(part.begin.mean() - cut / 2) <= 3 * np.sqrt(cut / 4 / n)  # front and back alike
        assert part.begin.min() >= 0 and part.begin.max() <= cut


def test_sentence_pairs_are_two_sentences(corpus):
    made = corpus()
    starts = {s[0]: s for d in made.documents for s in d}
    following = {one[0]: two for d in made.documents for one, two in zip(d, d[1:], strict=False)}
    batch = all_rows(made.source("sentence_pair", length=32))
    assert batch.size == len(following)
    for row in range(batch.size):
        a, b = parts(batch, row)
        assert a == starts[a[0]] and b == starts[b[0]]
        assert (b == following[a[0]]) != bool(batch.is_next[row])


def test_random_pairs_need_two_documents(corpus):
    with pytest.raises(DataError, match="two documents"):
        corpus([[4, 5, 6]]).source("segment_pair", length=16)
