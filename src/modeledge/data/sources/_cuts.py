"""Cut a long text into blocks at its punctuation.

Source: CogLTX (NeurIPS 2020) and its released code: the cheapest cut by dynamic programming, each block costing
something, a cut after a comma more than one after a sentence, a cut where there is no punctuation most of all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

NEVER = -1
"""The cost of a cut where there is no punctuation: none is made there, unless a block would be too long."""
BLOCK, BREAK = 4, 8
"""What every block costs, and what a cut in the middle of a sentence or a block below SHORT adds."""
SHORT = 10
"""Tokens below which a block is a poor one."""
MARKS = {"\n": 0, "Ċ": 0, "。": 1, ".": 1, "？": 1, "?": 1, "！": 1, "!": 1, ",": 2, "，": 2, "、": 2}
"""What a cut after a mark costs."""


def mark_costs(tokens: Sequence[str]) -> Int[np.ndarray, " v"]:
    """What a cut costs after each token of a vocabulary: NEVER, but for marks, however the family writes them."""
    bare = (t.removeprefix("##").lstrip("Ġ▁ ").removesuffix("</w>") for t in tokens)
    return np.array([MARKS.get(token, NEVER) for token in bare], np.int8)


def cut_places(costs: Int[np.ndarray, " t"], size: int) -> tuple[Int[np.ndarray, " c"], Int[np.ndarray, " c"]]:
    """Where a text of t tokens may be cut (0 and t among them) and what each cut costs: after its marks, and every
    `size` tokens where there is no mark for so long."""
    marks = np.flatnonzero(costs != NEVER) + 1
    edges = np.concatenate([[0], marks[marks < len(costs)], [len(costs)]])
    spare = (np.diff(edges) - 1) // size  # cuts to be made between two edges
    first = np.repeat(edges[:-1], spare)
    nth = np.arange(len(first)) - np.repeat(np.cumsum(spare) - spare, spare) + 1
    places = np.concatenate([edges, first + nth * size])
    inner = costs[edges[1:-1] - 1]
    paid = np.concatenate([[0], inner, [0], np.full(len(first), BREAK)])
    order = np.argsort(places, kind="stable")
    return places[order], paid[order]


def cut_blocks(costs: Int[np.ndarray, " t"], size: int) -> Int[np.ndarray, "n 2"]:
    """Where each block begins and ends, none longer than `size` tokens; a text without tokens is one empty block."""
    if not len(costs):
        return np.zeros((1, 2), np.int64)
    places, paid = cut_places(costs, size)
    reach = np.searchsorted(places, places - size)  # the earliest cut a block may begin at
    best, back = np.zeros(len(places)), np.zeros(len(places), np.int64)
    for i in range(1, len(places)):  # over cuts, not tokens
        begins = slice(int(reach[i]), i)
        total = best[begins] + BREAK * (places[i] - places[begins] < SHORT)
        chosen = int(total.argmin())
        back[i], best[i] = begins.start + chosen, total[chosen] + BLOCK + paid[i]
    ends = [len(places) - 1]
    while ends[-1]:
        ends.append(int(back[ends[-1]]))
    found = places[ends[::-1]]
    return np.stack([found[:-1], found[1:]], 1)
