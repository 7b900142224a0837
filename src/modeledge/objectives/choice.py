"""Choose one of several options: each is read together with the context, and one number a text decides.

Sources: SWAG in BERT, arXiv:1810.04805 §4.4; multiple choice in GPT (2018) §3.3."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from modeledge.core import IGNORE, Batch, Output, PartConfig, Slot, Sum, part
from modeledge.losses.cross_entropy import accuracy, cross_entropy
from modeledge.objectives._task import Task


class Choice(Task):
    """One linear layer with one output on the vector of each of the row's texts (ids b n t)."""

    class Config(Task.Config):
        """Nothing more to set."""

        head: Annotated[PartConfig | None, Slot("heads")] = part("classifier", dropout=0.1)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float((batch.label != IGNORE).sum())}

    def scores(self, out: Output, batch: Batch) -> Float[Tensor, "b n"]:
        """The score of each option."""
        return self.head(self.vector(out, batch))[..., 0]

    def cost(self, out: Output, batch: Batch) -> Sum:
        return cross_entropy(self.scores(out, batch), batch.label)

    def predict(self, out: Output, batch: Batch) -> Float[Tensor, "b n"]:
        """The probability of each option."""
        return self.scores(out, batch).float().softmax(-1)

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        scores = self.scores(out, batch)
        return {"accuracy": Sum(accuracy(scores, batch.label), (batch.label != IGNORE).sum())}
