"""Say which class a text or a pair of texts belongs to.

Sources: BERT, arXiv:1810.04805 §4.1; GPT (2018) §3.3: a pair whose order means nothing is read in both orders and the
two vectors are added. Not here: pictures (image_label.py), prompts."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from modeledge.core import IGNORE, Batch, Facts, Output, PartConfig, Slot, Sum, part
from modeledge.losses.cross_entropy import accuracy, cross_entropy
from modeledge.objectives import class_baselines
from modeledge.objectives._task import Task


class Classify(Task):
    """One linear layer on the row's vector."""

    class Config(Task.Config):
        """Nothing more to set."""

        head: Annotated[PartConfig | None, Slot("heads")] = part("classifier", dropout=0.1)

    def outputs(self) -> int:
        return len(self.names())

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float((batch.label != IGNORE).sum())}

    def scores(self, out: Output, batch: Batch) -> Float[Tensor, "b c"]:
        """The score of each class."""
        vector = self.vector(out, batch)
        if vector.ndim == 3:
            vector = vector.sum(1)
        return self.head(vector)

    def cost(self, out: Output, batch: Batch) -> Sum:
        return cross_entropy(self.scores(out, batch), batch.label)

    def predict(self, out: Output, batch: Batch) -> Float[Tensor, "b c"]:
        """The probability of each class."""
        return self.scores(out, batch).float().softmax(-1)

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        scores = self.scores(out, batch)
        return {"accuracy": Sum(accuracy(scores, batch.label), (batch.label != IGNORE).sum())}

    def baselines(self, facts: Facts) -> dict[str, float]:
        return class_baselines(self.outputs(), facts, self.config.on)
