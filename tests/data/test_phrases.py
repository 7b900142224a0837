"""Alignment and phrases against plain loops, and against ciphers whose alignment is known."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import keyed
from modeledge.data import _phrases
from modeledge.data._phrases import ROUNDS, Lexicon, Words, phrases_of


def words(rows):
    """Rows of word numbers as words of one token each."""
    sizes = [len(r) for r in rows]
    flat = np.array([w for r in rows for w in r], np.uint64)
    return Words(flat, np.arange(len(flat) + 1), np.concatenate([[0], np.cumsum(sizes)]))


def random_pairs(n=40, vocab=12, seed=0):
    rng = keyed("pairs", seed)
    return [[rng.integers(0, vocab, rng.integers(1, 7)).tolist() for _ in range(n)] for _ in range(2)]


def model_1(pairs):
    """p(f | e) by plain loops, with a word for nothing that makes each f as often as it occurs."""
    often, total = {}, 0
    for _, fs in pairs:
        for f in fs:
            often[f] = often.get(f, 0) + 1
            total += 1
    p = {(e, f): 1 / len(often) for es, fs in pairs for e in es for f in fs}
    for _ in range(ROUNDS):
        counts, sums = dict.fromkeys(p, 0.0), {}
        for es, fs in pairs:
            for f in fs:
                whole = sum(p[e, f] for e in es) + often[f] / total
                for e in es:
                    counts[e, f] += p[e, f] / whole
        for (e, _), c in counts.items():
            sums[e] = sums.get(e, 0.0) + c
        p = {(e, f): c / sums[e] for (e, f), c in counts.items()}
    return p


def test_the_lexicon_is_model_1_in_both_directions():
    one, two = random_pairs()
    lexicon = Lexicon(words(one), words(two))
    there, back = model_1(list(zip(one, two, strict=True))), model_1(list(zip(two, one, strict=True)))
    for key, score in zip(lexicon.keys, lexicon.score, strict=True):
        e, f = (int(table[i]) for table, i in zip(lexicon.known, divmod(int(key), len(lexicon.known[1])), strict=True))
        assert score == pytest.approx(there[e, f] * back[f, e], rel=1e-6)
    assert len(lexicon.keys) == len(there)


@pytest.mark.parametrize("turned", [False, True])
def test_a_cipher_is_aligned_word_for_word_also_in_another_order_and_in_unseen_sentences(turned):
    rng = keyed("cipher")
    share = 1 / np.arange(1, 61)
    rows = [rng.choice(60, rng.integers(3, 10), p=share / share.sum(), replace=False).tolist() for _ in range(900)]
    other = [[100 + (w * 7) % 60 for w in (r[::-1] if turned else r)] for r in rows]
    lexicon = Lexicon(words(rows[:800]), words(other[:800]))
    one, two = words(rows[800:]), words(other[800:])
    links = lexicon.links(one, two)
    right = [links[i] >= 0 and two.said[links[i]] == 100 + (w * 7) % 60 for i, w in enumerate(one.said.tolist())]
    assert np.mean(right) > 0.98
    found = links[links >= 0]
    assert len(np.unique(found)) == len(found)
    owner = [np.repeat(np.arange(100), np.diff(side.first)) for side in (one, two)]
    assert (owner[0][links >= 0] == owner[1][found]).all()


@pytest.mark.parametrize("size", [1, 7, 200])
def test_a_few_pairs_at_a_time_teach_and_link_what_all_at_once_do(monkeypatch, size):
    one, two = random_pairs(n=200, vocab=25)
    whole = Lexicon(words(one), words(two))
    links = whole.links(words(one), words(two))
    widest, crossed = [], _phrases.cross
    monkeypatch.setattr(_phrases, "_AT_ONCE", size)
    monkeypatch.setattr(_phrases, "cross", lambda *a: (found := crossed(*a), widest.append(len(found[0])))[0])
    pieces = Lexicon(words(one), words(two))
    assert np.array_equal(pieces.keys, whole.keys) and np.allclose(pieces.score, whole.score, rtol=1e-9)
    assert np.array_equal(pieces.links(words(one), words(two)), links) and (links >= 0).sum() > 100
    assert max(widest) <= size + 36  # a piece and the pair that goes over


def test_phrases_are_those_that_plain_loops_find():
    rng = keyed("links")
    one, two = (words([[0] * int(n) for n in rng.integers(1, 8, 60)]) for _ in range(2))
    links = np.full(len(one.said), -1)
    for pair in range(60):  # a random matching of some words of each pair
        a, b = (np.arange(side.first[pair], side.first[pair + 1]) for side in (one, two))
        n = int(rng.integers(0, min(len(a), len(b)) + 1))
        links[rng.choice(a, n, replace=False)] = rng.choice(b, n, replace=False)
    wanted = set()
    for pair in range(60):
        low, high = one.first[pair], one.first[pair + 1]
        for i in range(low, high):
            for k in range(i + 1, min(i + 3, high) + 1):
                if links[i] < 0 or links[k - 1] < 0:
                    continue
                inside = [int(x) for x in links[i:k] if x >= 0]
                span = range(min(inside), max(inside) + 1)
                outside = [x for x in (*links[low:i], *links[k:high]) if x in span]
                if not outside:
                    wanted.add((i, k, span[0], span[-1] + 1))
    made = phrases_of(one, links, len(two.said), longest=3)
    assert set(zip(*(x.tolist() for x in made[:4]), strict=True)) == wanted and len(made.begin) == len(wanted)
    for pair in range(60):
        mine = made.begin[made.first[pair] : made.first[pair + 1]]
        assert ((mine >= one.first[pair]) & (mine < one.first[pair + 1])).all()
