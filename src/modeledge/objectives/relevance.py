"""Say of each token whether the block it stands in matters for the question: the judge that picks what is read.

Source: CogLTX (NeurIPS 2020) §3 and its released code: one number a token, a block's score is the mean over its tokens,
its end token included. The question's tokens, whose label would say nothing, are not counted."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from modeledge.core import Batch, Output, PartConfig, Slot, Sum, part
from modeledge.losses.binary import binary_cross_entropy
from modeledge.objectives._task import Task


class Relevance(Task):
    """Binary cross-entropy over the tokens of all blocks."""

    class Config(Task.Config):
        """Nothing more to set."""

        head: Annotated[PartConfig | None, Slot("heads")] = part("per_token", dropout=0.1)

    needs = ("ids", "block", "relevant")

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float((batch.block >= 0).sum())}

    def scores(self, out: Output, batch: Batch) -> Float[Tensor, "b t"]:
        """How much each token matters, before the sigmoid."""
        return self.head(self.states(out, batch)).squeeze(-1).float()

    def cost(self, out: Output, batch: Batch) -> Sum:
        return binary_cross_entropy(self.scores(out, batch), batch.relevant, batch.block >= 0)

    def predict(self, out: Output, batch: Batch) -> Float[Tensor, "b n"]:
        """The score of each block of a row, 0 to 1, in their order; 0 behind the last."""
        chances = self.scores(out, batch).sigmoid()
        blocks = int(batch.block.max()) + 1
        at = batch.block.clamp(min=0)
        inside = (batch.block >= 0).to(chances.dtype)
        sums = chances.new_zeros(len(at), blocks)
        counts = sums.scatter_add(1, at, inside)
        return sums.scatter_add(1, at, chances * inside) / counts.clamp(min=1)

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        counted = batch.block >= 0
        right = ((self.scores(out, batch) > 0) == batch.relevant) & counted
        return {"accuracy": Sum(right.sum(), counted.sum())}
