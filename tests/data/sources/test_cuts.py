"""Cutting texts into blocks against trying out every cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from modeledge.data.sources._cuts import BLOCK, BREAK, NEVER, SHORT, cut_blocks, cut_places, mark_costs


def cost_of(blocks, price):
    """What a cut into blocks costs; `price` says what a cut at a place costs."""
    sizes = [end - begin for begin, end in blocks]
    return sum(BLOCK + price[end] for _, end in blocks) + BREAK * sum(size < SHORT for size in sizes)


def exhaustive(places, price, size):
    """The cost of the cheapest of all ways to cut at some of the places."""
    costs = []
    inner = places[1:-1]
    for some in itertools.chain.from_iterable(itertools.combinations(inner, n) for n in range(len(inner) + 1)):
        edges = [places[0], *some, places[-1]]
        blocks = list(itertools.pairwise(edges))
        if all(end - begin <= size for begin, end in blocks):
            costs.append(cost_of(blocks, price))
    return min(costs)


@pytest.mark.parametrize("seed", range(12))
def test_the_cut_is_as_cheap_as_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(12, 40))
    costs = np.full(int(rng.integers(30, 130)), NEVER)
    marks = rng.choice(len(costs), 7, replace=False)
    costs[marks] = rng.integers(0, 3, 7)
    places, paid = cut_places(costs, size)
    assert len(places) <= 18
    price = dict(zip(places.tolist(), paid.tolist(), strict=True))
    blocks = cut_blocks(costs, size)
    assert cost_of(blocks.tolist(), price) == exhaustive(places.tolist(), price, size)


@pytest.mark.parametrize("marked", [0.0, 0.05, 0.5])
def test_blocks_one_after_the_other_are_the_text_and_none_is_too_long(marked):
    rng = np.random.default_rng(0)
    for length in (1, 5, 63, 64, 700):
        costs = np.where(rng.random(length) < marked, rng.integers(0, 3, length), NEVER)
        blocks = cut_blocks(costs, 63)
        assert np.concatenate([np.arange(*b) for b in blocks]).tolist() == list(range(length))
        assert (np.diff(blocks, axis=1) <= 63).all()


def test_a_text_is_cut_after_sentences_where_it_can_be():
    costs = np.full(100, NEVER)
    costs[[19, 29, 39, 59, 79]] = [1, 2, 2, 1, 1]
    assert cut_blocks(costs, 45).tolist() == [[0, 20], [20, 60], [60, 100]]
    assert cut_blocks(np.zeros(0, int), 45).tolist() == [[0, 0]]


def test_marks_are_known_however_a_family_writes_them():
    assert mark_costs(["a", ".", "Ġ,", "▁!", "##?", "。", "Ċ", ".</w>", "a."]).tolist() == [-1, 1, 2, 1, 1, 1, 0, 1, -1]
