"""Learning Unigram pieces, against enumerating every segmentation."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import chi2

from modeledge.core import find, keyed
from modeledge.tokenizers._draw import draw
from modeledge.tokenizers._unigram import lattice, learn, seeds, words_of

COUNTS = {"abab": 5.0, "abc": 3.0, "cabab": 2.0, "bca": 1.0, "a": 4.0}


def segmentations(word, known):
    """Every way to cut a word into known pieces."""
    for n in range(len(word)):
        for cuts in combinations(range(1, len(word)), n):
            parts = [word[a:b] for a, b in zip((0, *cuts), (*cuts, len(word)), strict=True)]
            if all(p in known for p in parts):
                yield parts


@pytest.fixture
def problem():
    words = words_of(COUNTS)
    pieces = list(seeds(words, 100))
    score = np.log(np.random.default_rng(0).dirichlet(np.ones(len(pieces))))
    return words, pieces, score


def test_seeds_are_all_characters_and_the_substrings_seen_twice():
    found = seeds(words_of(COUNTS), 100)
    counted = {}
    for word, n in COUNTS.items():
        for a in range(len(word)):
            for b in range(a + 1, len(word) + 1):
                counted[word[a:b]] = counted.get(word[a:b], 0) + n
    assert found == {p: n * len(p) for p, n in counted.items() if n >= 2 or len(p) == 1}


def test_expected_counts_and_best_cuts_are_those_of_the_enumeration(problem):
    words, pieces, score = problem
    known, ways = dict(zip(pieces, score, strict=True)), lattice(words, pieces)
    expected, best = dict.fromkeys(pieces, 0.0), []
    for word in sorted(COUNTS):
        options = [(parts, sum(known[p] for p in parts)) for parts in segmentations(word, known)]
        total = math.fsum(math.exp(s) for _, s in options)
        best.append(max(s for _, s in options))
        for parts, s in options:
            for p in parts:
                expected[p] += COUNTS[word] * math.exp(s) / total
    assert np.allclose(ways.expected(score, words.weights), [expected[p] for p in pieces])
    assert np.allclose(ways.best(score), best)


def test_leaving_out_pieces_is_the_same_as_never_having_had_them(problem):
    words, pieces, score = problem
    alive = np.array([len(p) == 1 or i % 2 == 0 for i, p in enumerate(pieces)])
    left = [p for p, keep in zip(pieces, alive, strict=True) if keep]
    one, other = lattice(words, pieces).keep(alive), lattice(words, left)
    assert np.allclose(one.expected(score[alive], words.weights), other.expected(score[alive], words.weights))


def test_probabilities_sum_to_one_and_characters_are_never_left_out():
    counts = {
        f"▁{a}{b}{c}": 1.0 + len(a) for a in ("un", "re", "") for b in ("do", "play", "see") for c in ("ing", "", "s")
    }
    found = dict(learn(counts, 40))
    assert set("".join(counts)) <= set(found) and len(found) <= 40
    assert math.fsum(math.exp(s) for s in found.values()) == pytest.approx(1, abs=1e-9)
    assert {"ing", "▁un"} & set(found)


def test_the_probabilities_of_a_trained_vocabulary_sum_to_one(make):
    for settings in ({}, {"family": "t5", "sentinels": 10}):
        made = make("unigram", **settings)
        pieces = json.loads(made.inner.to_str())["model"]["vocab"]
        scores = [score for piece, score in pieces if made.inner.token_to_id(piece) not in made._special_ids]
        assert len(scores) > 100 and math.fsum(map(math.exp, scores)) == pytest.approx(1, abs=1e-9)


def test_ways_are_drawn_as_often_as_their_probability_to_the_power_alpha_says(problem):
    """Chi-square over all ways to cut a word, at one in a thousand."""
    words, pieces, score = problem
    known = dict(zip(pieces, score.tolist(), strict=True))
    for word, alpha in (("abab", 1.0), ("cabab", 0.3)):
        ways = {tuple(cut): math.exp(alpha * sum(known[p] for p in cut)) for cut in segmentations(word, known)}
        found, sizes = draw([word] * 6000, pieces, score, keyed(word), alpha=alpha)
        cut = np.split(found, np.cumsum(sizes)[:-1])
        counts = Counter(tuple(pieces[i] for i in part) for part in cut)
        assert counts.keys() <= ways.keys() and len(ways) >= 4
        wanted = {way: 6000 * p / sum(ways.values()) for way, p in ways.items()}
        rare = [way for way, n in wanted.items() if n < 5]
        cells = [(counts[way], n) for way, n in wanted.items() if n >= 5]
        cells += [(sum(counts[way] for way in rare), sum(wanted[way] for way in rare) or 1e-9)] if rare else []
        assert sum((seen - n) ** 2 / n for seen, n in cells) < chi2.ppf(0.999, len(cells) - 1) and len(cells) >= 4


def test_what_cannot_be_cut_has_no_pieces_and_the_rest_is_not_disturbed(problem):
    _, pieces, score = problem
    found, sizes = draw(["ab", "xyz", "", "a" * 60, "ba"], pieces, score, keyed(0), alpha=1.0)
    assert sizes[1:4].tolist() == [0, 0, 0]
    said = ["".join(pieces[i] for i in part) for part in np.split(found, np.cumsum(sizes)[:-1])]
    assert said == ["ab", "", "", "", "ba"]


def test_a_tokenizer_that_samples_cuts_training_text_by_chance_and_says_the_same(make, texts):
    made = make("unigram", sample=0.2)
    best, lengths = made.encode_flat(texts)
    drawn, sizes = made.encode_training(texts, keyed(0))
    cut, plain = (np.split(ids, np.cumsum(n)[:-1]) for ids, n in ((drawn, sizes), (best, lengths)))
    assert all(made.decode(a) == made.decode(b) for a, b in zip(cut, plain, strict=True))
    assert sizes.sum() > 1.02 * lengths.sum()  # the most probable way has few pieces
    sure, n = make("unigram", sample=50.0).encode_training(texts, keyed(0))
    assert np.array_equal(sure, best) and np.array_equal(n, lengths)
    strange = "never \u2603 people"
    assert made.special["unk"] in made.encode_training([strange], keyed(1))[0]


def test_the_alphabet_alone_may_fill_the_vocabulary():
    assert [len(p) for p, _ in learn({"abcdef": 3.0}, 4)] == [1] * 4


def test_the_tokens_of_languages_and_the_mask_come_last_and_nothing_spells_them(make):
    """mBART: <s> <pad> </s> <unk>, the pieces, one token a language, <mask>; </s> ends a text, nothing begins it."""
    made = make("unigram", family="mbart", languages=3)
    v = made.vocab
    assert [made.special[r] for r in ("bos", "pad", "eos", "unk")] == [0, 1, 2, 3] and "cls" not in made.special
    assert [made.special[f"lang{i}"] for i in range(3)] == [v - 4, v - 3, v - 2] and made.special["mask"] == v - 1
    assert made.words == (4, v - 4) and made.frame().after == (2,) and made.frame().before == ()
    assert not set(made.encode_batch(["<lang_1> <mask>"])[0].tolist()) & {v - 4, v - 3, v - 2, v - 1}


@pytest.mark.parametrize("settings", [{"family": "mbart"}, {"family": "t5", "languages": 2}])
def test_tokens_of_languages_go_with_their_family(settings):
    with pytest.raises(ValueError, match="family mbart"):
        find("tokenizers", "unigram").Config(kind="unigram", **settings)
