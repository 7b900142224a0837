"""Skip-gram: from a word, each word of its context.

Source: Mikolov et al., arXiv:1301.3781 §3.2, with negative sampling or the hierarchical softmax, arXiv:1310.4546 §2.
Pairs are never listed: the scores of a row's words with each other are one product, and the pairs a mask over it."""

from __future__ import annotations

from modeledge.core import Batch, Output, Sum
from modeledge.objectives._context import WordContext
from modeledge.visibility.around import neighbours


class SkipGram(WordContext):
    """Count: pairs of a word and a neighbour."""

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(neighbours(batch).sum())}

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        return {self.losses[0]: self.head.neighbours(out.states, batch, lambda: self.pairs(batch))}
