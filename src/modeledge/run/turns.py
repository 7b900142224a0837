"""Whose turn it is where objectives take turns, one a step: in shuffled blocks in which each has a set number of turns.

Sources: MT-DNN, arXiv:1901.11504 algorithm 1 (a block is an epoch: the batches of all data sets, shuffled); ERNIE 2.0,
arXiv:1907.12412 §3.2 (a block is a stage: the newest task has most of it, the older ones a share each). Not here: what
a step is made of (feed.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from modeledge.core import keyed


class Turns:
    """turns(step): the number of the task, and how many turns its source has had before. No call needs an earlier one.

    `blocks`: turns of each task in each block; the last block is repeated as often as there are steps; `reads`: the
    number of the source each task reads (default: each its own), so that tasks on one source go on through its rows."""

    def __init__(self, blocks: Int[np.ndarray, "n k"], seed: int, reads: Sequence[int] | None = None):
        self.blocks, self.seed = blocks, seed
        self.reads = np.arange(blocks.shape[1]) if reads is None else np.asarray(reads)
        self.ends = np.cumsum(blocks.sum(1))
        self.each = blocks @ (self.reads[:, None] == np.arange(self.reads.max() + 1))  # turns of each source
        self.before = np.cumsum(self.each, axis=0) - self.each
        self.known: tuple[int, np.ndarray, np.ndarray] = (-1, np.zeros(0), np.zeros(0))

    def __call__(self, step: int) -> tuple[int, int]:
        block, place, before = self.place(step)
        if self.known[0] != block:
            number = min(block, len(self.blocks) - 1)
            counts, each = self.blocks[number], self.each[number]
            order = keyed(self.seed, "turns", block).permutation(np.repeat(np.arange(len(counts)), counts))
            nth = np.empty_like(order)
            by_source = np.argsort(self.reads[order], kind="stable")
            nth[by_source] = np.arange(len(order)) - np.repeat(np.cumsum(each) - each, each)
            self.known = block, order, nth
        _, order, nth = self.known
        return int(order[place]), int(before[self.reads[order[place]]] + nth[place])

    def place(self, step: int) -> tuple[int, int, Int[np.ndarray, " s"]]:
        """The block a step lies in, its place there, and the turns each source had in the blocks before."""
        last = len(self.blocks) - 1
        block = int(np.searchsorted(self.ends[:-1], step, side="right"))
        begin = int(self.ends[block] - self.blocks[block].sum())
        if block < last:
            return block, step - begin, self.before[block]
        again, place = divmod(step - begin, int(self.blocks[last].sum()))
        return last + again, place, self.before[last] + again * self.each[last]


def ramp(rates: Sequence[float], total: int) -> Int[np.ndarray, "k k"]:
    """Turns of each of k tasks (columns) in each of k stages (rows), `total` in all, shared out by `rates`.

    Task j (from 1) begins in stage j, where it has (j + 1) / (k + 1) of its turns; each later stage has 1 / (k + 1) of
    them. Four tasks of 50,000 turns: 20, 10, 10, 10 thousand; 30, 10, 10; 40, 10; 50 (ERNIE 2.0's own table)."""
    k = len(rates)
    share = np.cumsum(np.asarray(rates, np.float64))
    own = np.diff(np.round(share / share[-1] * total).astype(np.int64), prepend=0)
    done = np.tril(np.repeat(np.arange(2, k + 2)[:, None], k, axis=1))  # in parts of k + 1, by the end of each stage
    return np.diff(np.round(done * own / (k + 1)).astype(np.int64), axis=0, prepend=0)
