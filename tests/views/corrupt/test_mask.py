"""Choosing and replacing tokens, by statistics over 1e5 tokens and by plain loops."""

import numpy as np
import pytest

from modeledge.core import IGNORE, RowRandom, keyed
from modeledge.views.corrupt.mask import (
    budget,
    choose_count,
    choose_each,
    choose_exactly,
    choose_mention,
    choose_rare,
    choose_words,
    replace,
    word_ids,
)

WORDS = (10, 1000)
MASK = 4


def text(rows=800, width=128, *, seed=0):
    """ids, maskable: special at both ends, a separator in the middle, padding of a random length."""
    rng = keyed("text", seed)
    ids = rng.integers(*WORDS, (rows, width))
    length = rng.integers(width // 2, width + 1, rows)
    maskable = np.arange(width) < length[:, None] - 1
    maskable[:, 0] = False
    maskable[np.arange(rows), length // 2] = False
    return ids, maskable


def within(found, n, p):
    """found of n trials of probability p lies within 3 sigma."""
    return abs(found - n * p) <= 3 * np.sqrt(n * p * (1 - p))


def test_every_subset_of_a_size_is_equally_likely():
    allowed = np.tile([True, False, True, True, True, False], (60_000, 1))
    chosen = choose_exactly(allowed, np.full(60_000, 2), keyed("subsets"))
    assert not (chosen & ~allowed).any()
    codes, counts = np.unique(chosen @ (1 << np.arange(6)), return_counts=True)
    assert len(codes) == 6  # 4 choose 2
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 20.5  # chi-square, 5 degrees, p = 0.001


def test_a_row_with_fewer_places_than_wanted_gives_all_of_them():
    chosen = choose_exactly(np.array([[True, False, True]]), np.array([5]), keyed(1))
    assert chosen.tolist() == [[True, False, True]]


def test_the_fixed_count_is_that_of_the_released_builder():
    _, maskable = text()
    chosen = choose_count(maskable, keyed(2), rate=0.15)
    for row, may in zip(chosen, maskable, strict=True):
        assert row.sum() == max(1, round(0.15 * may.sum()))
    assert not (chosen & ~maskable).any()
    assert choose_count(maskable, keyed(2), rate=0.15, most=5).sum(1).max() == 5
    assert choose_count(np.zeros((2, 8), bool), keyed(2), rate=0.15).sum() == 0


def test_each_place_is_chosen_equally_often():
    maskable = np.ones((10_000, 20), bool)
    chosen = choose_count(maskable, keyed(3), rate=0.15)
    assert all(within(n, 10_000, 0.15) for n in chosen.sum(0))


def test_independent_choice_has_the_rate():
    _, maskable = text(2000)
    chosen = choose_each(maskable, keyed(4), rate=0.15)
    assert within(chosen.sum(), maskable.sum(), 0.15) and not (chosen & ~maskable).any()


def test_the_mask_is_80_10_10_and_random_tokens_are_ordinary():
    ids, maskable = text(8000)
    chosen = choose_count(maskable, keyed(5), rate=0.15)
    hidden, labels = replace(ids, chosen, keyed(6), mask=MASK, words=WORDS)
    n = chosen.sum()
    assert n > 1e5
    assert within((hidden == MASK)[chosen].sum(), n, 0.8)
    changed = chosen & (hidden != MASK) & (hidden != ids)
    assert within(changed.sum(), n, 0.1 * (1 - 1 / (WORDS[1] - WORDS[0])))
    assert hidden[changed].min() >= WORDS[0] and hidden[changed].max() < WORDS[1]
    assert (hidden == ids)[~chosen].all() and (labels == IGNORE)[~chosen].all() and (labels == ids)[chosen].all()


def test_a_narrow_unsigned_id_type_is_no_problem():
    ids = np.full((2, 4), 7, np.uint16)
    hidden, labels = replace(ids, np.ones((2, 4), bool), keyed(1), mask=MASK, words=WORDS, shares=(1.0, 0.0))
    assert (hidden == MASK).all() and (labels == 7).all() and hidden.dtype == np.uint16


def words_of(maskable, seed=0):
    """Word starts with words of 1 to 4 tokens; what may not be chosen begins a word of its own, and so what follows."""
    starts = keyed("words", seed).random(maskable.shape) < 0.6
    starts |= ~maskable
    starts[:, 1:] |= ~maskable[:, :-1]
    starts[:, 0] = True
    return starts


def test_a_word_is_chosen_whole_or_not_at_all_and_the_rate_holds():
    _, maskable = text(8000)
    starts = words_of(maskable)
    words = word_ids(starts)
    chosen = choose_words(maskable, words, keyed(7), rate=0.15)
    for row in range(300):
        for word in np.unique(words[row]):
            assert len(set(chosen[row, words[row] == word])) == 1
    assert not (chosen & ~maskable).any()
    assert (chosen.sum(1) >= 1).all()
    target = budget(maskable, rate=0.15)
    assert maskable.sum() > 5e5
    spread = 3 * (chosen.sum(1) - target).std() * np.sqrt(len(chosen))  # 3 sigma of the sum of independent rows
    assert abs(chosen.sum() - target.sum()) < spread


def test_words_of_one_token_give_exactly_the_count():
    _, maskable = text(200)
    every = np.ones_like(maskable)
    chosen = choose_words(maskable, word_ids(every), keyed(8), rate=0.15)
    assert (chosen.sum(1) == budget(maskable, rate=0.15)).all()
    chosen = choose_words(maskable, word_ids(every), keyed(8), rate=0.15, most=3)
    assert (chosen.sum(1) == 3).all()


@pytest.mark.contract
def test_ngram_lengths_are_6_to_3_to_2():
    rows, width = 5_000, 800
    maskable = np.ones((rows, width), bool)
    maskable[:, [0, 400, width - 1]] = False
    lengths = np.array([6, 3, 2]) / 11
    every = word_ids(np.ones_like(maskable))
    chosen = choose_words(maskable, every, keyed(9), rate=0.001, lengths=lengths)  # one token wanted: one run, whole
    assert all(within((chosen.sum(1) == i + 1).sum(), rows, p) for i, p in enumerate(lengths))
    ordinary = chosen[:, maskable[0]]
    assert ((ordinary[:, 1:] & ~ordinary[:, :-1]).sum(1) + ordinary[:, 0] == 1).all()


def test_static_masks_depend_on_the_row_only():
    ids, maskable = text(6)
    order = np.array([3, 1, 5])
    whole = choose_words(maskable, word_ids(words_of(maskable)), RowRandom(np.arange(6), "m"), rate=0.15)
    part = choose_words(maskable[order], word_ids(words_of(maskable)[order]), RowRandom(order, "m"), rate=0.15)
    assert (whole[order] == part).all()


@pytest.mark.parametrize("lengths", [None, np.array([6, 3, 2]) / 11])
def test_rows_without_anything_to_choose_stay_empty(lengths):
    maskable = np.zeros((3, 9), bool)
    maskable[1, 4] = True
    chosen = choose_words(maskable, word_ids(np.ones_like(maskable)), keyed(1), rate=0.5, lengths=lengths)
    assert (chosen == maskable).all()


def test_rare_tokens_are_drawn_one_after_the_other_by_their_weights():
    weights = np.array([[1.0, 2.0, 4.0, 3.0]])
    n = 60_000
    allowed = np.repeat([[True, True, True, False]], n, axis=0)
    chosen = choose_rare(allowed, np.repeat(weights, n, axis=0), keyed("rare"), rate=0.6)  # two of three
    w = weights[0, :3] / weights[0, :3].sum()
    for left in range(3):  # the one left out: both orders of the others
        a, b = (i for i in range(3) if i != left)
        p = w[a] * w[b] / (1 - w[a]) + w[b] * w[a] / (1 - w[b])
        found = (~chosen[:, left]).sum()
        assert abs(found - n * p) < 3 * np.sqrt(n * p * (1 - p))
    assert not chosen[:, 3].any() and (chosen.sum(1) == 2).all()


def test_one_whole_mention_a_row_is_chosen_each_as_often_as_the_others():
    rows = 30_000
    mentions = np.tile([-1, 7, 7, -1, 3, 5, 5, 5, -1, 2, -1], (rows, 1))
    starts = np.tile(np.array([0, 1, 0, 1, 1, 1, 0, 0, 1, 1, 0], bool), (rows, 1))
    maskable = np.tile(np.array([0, *[1] * 9, 0], bool), (rows, 1))
    maskable[:, 9] = np.arange(rows) % 2 == 0
    found, times = np.unique(
        choose_mention(maskable, mentions, starts, keyed("mention"), most=2), axis=0, return_counts=True
    )
    told = {tuple(np.flatnonzero(row)): int(n) for row, n in zip(found, times, strict=True)}
    assert told.keys() == {(1, 2), (4,), (9,)}  # the mention of three tokens is too long
    assert within(told[9,], rows // 2, 1 / 3)
    assert within(told[1, 2], rows, (1 / 3 + 1 / 2) / 2)


def test_a_row_without_a_mention_has_nothing_chosen():
    nothing = np.full((3, 5), -1)
    assert not choose_mention(nothing < 0, nothing, nothing < 0, keyed("mention")).any()
