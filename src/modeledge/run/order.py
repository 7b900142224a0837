"""Which rows of a source a step reads, and how many: a function of the step's number, whatever came before it.

Source of steps of like many tokens: RoBERTa, arXiv:1907.11692 §4.2, whose batches have more rows where rows are short
(DOC-SENTENCES). Not here: whose turn it is among several sources (turns.py)."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from modeledge.core import RecipeError, Shuffle
from modeledge.data.sources import Source
from modeledge.recipe.schema import Rampup

AHEAD = 64
"""Steps whose rows are shuffled at once: a few rows cost as much as thousands."""
SAMPLE = 1 << 16
"""Rows that tell how long a row is on average."""


class Batches:
    """batches(step): how many rows steps have in a run of `total`: `batch`, or fewer while they grow (`rampup`)."""

    def __init__(self, batch: int, rampup: Rampup | None = None, total: int = 1):
        self.batch = batch
        steps = 0 if rampup is None else math.ceil(rampup.share * total)
        stride = batch if rampup is None else rampup.start
        done = np.arange(steps, dtype=np.int64) * (batch // stride) // max(steps, 1)
        self.growing = stride * (1 + done)
        self.read = np.concatenate([[0], np.cumsum(self.growing)])
        """Rows read before each step, as long as they grow."""
        mean = (self.read[-1] + (total - steps) * batch) / total
        self.usual = int(np.searchsorted(self.growing, mean))
        """The first step that has as many rows as a step of this run has on average, or hardly more."""

    def __call__(self, step: int) -> int:
        return int(self.growing[step]) if step < len(self.growing) else self.batch

    def before(self, steps: Int[np.ndarray, " s"]) -> Int[np.ndarray, " s"]:
        """How many rows are read before each of these steps."""
        most = len(self.growing)
        return self.read[np.minimum(steps, most)] + np.maximum(steps - most, 0) * self.batch


class Block(NamedTuple):
    """The rows of AHEAD steps, in the order they are read; step i reads those from ends[i] to ends[i + 1]."""

    number: int
    index: Int[np.ndarray, " r"]
    epoch: Int[np.ndarray, " r"]
    ends: Int[np.ndarray, " s"]


class Order:
    """order(step): the numbers of the rows a step reads, and in which epoch each.

    unit: `rows`, as many a step as `batches` says; or `tokens`, as many as hold the tokens of so many full rows, as
    nearly as whole rows can. Raises RecipeError if the source cannot tell its rows' tokens, or reads them in parallel
    streams."""

    def __init__(
        self, source: Source, *, name: str, batches: Batches, seed: int, unit: Literal["rows", "tokens"] = "rows"
    ):
        self.source, self.name, self.batches, self.seed = source, name, batches, seed
        self.rows, self.even = AHEAD * batches.batch, unit == "tokens"
        if self.even:
            n = len(source)
            sizes = None if source.ordered else source.tokens_of(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64))
            if sizes is None:
                raise RecipeError(
                    f"loop.unit: tokens: data.{name} ({source.config.kind}) does not tell how long its rows are\n"
                    "  next: loop.unit: rows, or data of kind document, doc_sentences or full_sentences"
                )
            self.rows = max(self.rows, round(self.rows * source.config.length / sizes.mean()))
        self.known: Block | None = None

    def __call__(self, step: int) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
        number, within = divmod(step, AHEAD)
        if self.known is None or self.known.number != number:
            self.known = self.block(number)
        here = slice(*self.known.ends[within : within + 2])
        return self.known.index[here], self.known.epoch[here]

    def block(self, number: int) -> Block:
        """The rows of the steps from number * AHEAD on."""
        n = len(self.source)
        ends = number * self.rows + np.array([0, self.rows])
        if not self.even:
            ends = self.batches.before(np.arange(number * AHEAD, (number + 1) * AHEAD + 1))
        place = np.arange(ends[0], ends[-1], dtype=np.int64)
        index, epoch = place % n, place // n
        if not self.source.ordered:
            for e in range(int(epoch[0]), int(epoch[-1]) + 1):
                index[epoch == e] = Shuffle(n, self.seed, self.name, e)(index[epoch == e])
        if not self.even:
            return Block(number, index, epoch, ends - ends[0])
        sizes = self.source.tokens_of(index)
        assert sizes is not None
        ends = np.cumsum(sizes)
        cuts = np.searchsorted(ends, np.arange(1, AHEAD) * (ends[-1] / AHEAD)) + 1
        return Block(number, index, epoch, np.concatenate([[0], cuts, [self.rows]]))
