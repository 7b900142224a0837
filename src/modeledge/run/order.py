"""Which rows of a source a step reads: a function of the step's number, whatever came before it.

Source of steps of like many tokens: RoBERTa, arXiv:1907.11692 §4.2, whose batches have more rows where rows are short
(DOC-SENTENCES). Not here: whose turn it is among several sources (turns.py)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from modeledge.core import RecipeError, Shuffle
from modeledge.data.sources import Source

AHEAD = 64
"""Steps whose rows are shuffled at once: a few rows cost as much as thousands."""
SAMPLE = 1 << 16
"""Rows that tell how long a row is on average."""


class Block(NamedTuple):
    """The rows of AHEAD steps, in the order they are read; step i reads those from ends[i] to ends[i + 1]."""

    number: int
    index: Int[np.ndarray, " r"]
    epoch: Int[np.ndarray, " r"]
    ends: Int[np.ndarray, " s"]


class Order:
    """order(step): the numbers of the rows a step reads, and in which epoch each.

    unit: `rows`, `batch` of them a step; or `tokens`, as many as hold the tokens of `batch` full rows, as nearly as
    whole rows can. Raises RecipeError if the source cannot tell its rows' tokens, or reads them in parallel streams."""

    def __init__(self, source: Source, *, name: str, batch: int, seed: int, unit: Literal["rows", "tokens"] = "rows"):
        self.source, self.name, self.batch, self.seed = source, name, batch, seed
        self.rows, self.even = AHEAD * batch, unit == "tokens"
        if self.even:
            n = len(source)
            sizes = None if source.ordered else source.tokens_of(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64))
            if sizes is None:
                raise RecipeError(
                    f"loop.unit: tokens: data.{name} ({source.config.kind}) does not tell how long its rows are\n"
                    "  next: loop.unit: rows, or data of kind document, doc_sentences or full_sentences"
                )
            self.rows = max(self.rows, round(AHEAD * batch * source.config.length / sizes.mean()))
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
        place = np.arange(number * self.rows, (number + 1) * self.rows, dtype=np.int64)
        index, epoch = place % n, place // n
        if not self.source.ordered:
            for e in range(int(epoch[0]), int(epoch[-1]) + 1):
                index[epoch == e] = Shuffle(n, self.seed, self.name, e)(index[epoch == e])
        if not self.even:
            return Block(number, index, epoch, np.arange(AHEAD + 1) * self.batch)
        sizes = self.source.tokens_of(index)
        assert sizes is not None
        ends = np.cumsum(sizes)
        cuts = np.searchsorted(ends, np.arange(1, AHEAD) * (ends[-1] / AHEAD)) + 1
        return Block(number, index, epoch, np.concatenate([[0], cuts, [self.rows]]))
