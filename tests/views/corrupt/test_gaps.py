"""Sentences by importance, against a plain computation of ROUGE-1 and a plain greedy search."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from modeledge.core import keyed
from modeledge.views.corrupt.gaps import choose_gaps


def f1(said, rest, unique):
    a, b = Counter(said), Counter(rest)
    if unique:
        a, b = Counter(set(said)), Counter(set(rest))
    overlap = sum((a & b).values())
    if not overlap:
        return Fraction(0)
    p, r = Fraction(overlap, sum(a.values())), Fraction(overlap, sum(b.values()))  # exact, so that ties are ties
    return 2 * p * r / (p + r)


def texts(b=30, t=60, vocab=25):
    rng = keyed("gaps")
    ids = rng.integers(7, vocab, (b, t))
    n = rng.integers(5, t + 1, b)
    inside = np.arange(t) < n[:, None]
    starts = (rng.random((b, t)) < 0.15) | (np.arange(t) == 0)
    sentence = np.where(inside, np.cumsum(starts, axis=1) - 1, -1)
    split = [[ids[i][sentence[i] == s].tolist() for s in range(sentence[i].max() + 1)] for i in range(b)]
    return ids, sentence, split


def by_hand(sentences, wanted, unique, greedy):
    def score(chosen):
        said = [w for s in chosen for w in sentences[s]]
        rest = [w for s in range(len(sentences)) if s not in chosen for w in sentences[s]]
        return f1(said, rest, unique)

    if not greedy:
        return set(sorted(range(len(sentences)), key=lambda s: (-score([s]), s))[:wanted])
    chosen = []
    while len(chosen) < min(wanted, len(sentences)):
        free = [s for s in range(len(sentences)) if s not in chosen]
        chosen.append(max(free, key=lambda s: (score([*chosen, s]), -s)))
    return set(chosen)


@pytest.mark.parametrize("strategy", ["ind_orig", "ind_uniq", "seq_orig", "seq_uniq"])
def test_the_chosen_sentences_are_those_of_a_plain_search(strategy):
    ids, sentence, split = texts()
    wanted = keyed("wanted").integers(1, 5, len(ids))
    chosen = choose_gaps(ids, sentence, wanted, keyed(0), strategy=strategy)
    for row, sentences in enumerate(split):
        expected = by_hand(sentences, int(wanted[row]), strategy.endswith("uniq"), strategy.startswith("seq"))
        assert set(np.flatnonzero(chosen[row])) == expected, row


def test_the_greedy_search_does_not_take_the_same_sentence_said_twice():
    """Two sentences alike are best by themselves; together they tell nothing that one of them does not."""
    ids = np.array([[10, 11, 12, 10, 11, 12, 10, 11, 20, 21, 22, 20]])
    sentence = np.array([[0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4]])
    alone = choose_gaps(ids, sentence, np.array([2]), keyed(0), strategy="ind_uniq")
    greedy = choose_gaps(ids, sentence, np.array([2]), keyed(0), strategy="seq_uniq")
    assert np.flatnonzero(alone[0]).tolist() == [0, 1]
    assert greedy[0].sum() == 2 and not (greedy[0, 0] and greedy[0, 1])


def test_lead_takes_the_first_and_random_any():
    ids, sentence, split = texts()
    wanted = np.full(len(ids), 2)
    lead = choose_gaps(ids, sentence, wanted, keyed(0), strategy="lead")
    assert all(np.flatnonzero(row).tolist() == list(range(min(2, len(s)))) for row, s in zip(lead, split, strict=True))
    many, numbers = np.tile(ids[:1, :6], (9000, 1)), np.tile([0, 0, 1, 1, 2, 2], (9000, 1))
    drawn = choose_gaps(many, numbers, np.full(9000, 1), keyed("r"), strategy="random")
    assert (drawn.sum(1) == 1).all() and abs(drawn.sum(0) - 3000).max() < 4 * np.sqrt(2000)


def test_noise_on_the_scores_changes_some_choices_and_not_their_number():
    ids, sentence, split = texts(b=200)
    wanted = np.full(200, 2)
    plain = choose_gaps(ids, sentence, wanted, keyed(1), strategy="ind_orig")
    noisy = choose_gaps(ids, sentence, wanted, keyed(1), strategy="ind_orig", noise=0.2)
    changed = (plain != noisy).any(1).mean()
    assert 0.02 < changed < 0.9 and (noisy.sum(1) == [min(2, len(s)) for s in split]).all()
