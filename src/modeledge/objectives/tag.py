"""Give every word a tag: entities, parts of speech.

Source: BERT, arXiv:1810.04805 §5.3: a word's tag is read at its first token; the others are no targets."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Int
from torch import Tensor

from modeledge.core import Batch, Facts, Output, PartConfig, Slot, Sum, part
from modeledge.losses.cross_entropy import accuracy, cross_entropy
from modeledge.objectives import class_baselines, pick
from modeledge.objectives._task import Task


class Tag(Task):
    """One linear layer on the states of the tokens that have a tag."""

    class Config(Task.Config):
        """Nothing more to set."""

        head: Annotated[PartConfig | None, Slot("heads")] = part("per_token", dropout=0.1)

    def outputs(self) -> int:
        return len(self.names())

    def cost(self, out: Output, batch: Batch) -> Sum:
        return cross_entropy(self.head(pick(self.states(out, batch), batch)), batch.targets)

    def predict(self, out: Output, batch: Batch) -> Int[Tensor, "b t"]:
        """The tag of every token; those that do not begin a word are not to be read."""
        return self.head(self.states(out, batch)).argmax(-1)

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        scores = self.head(pick(self.states(out, batch), batch))
        return {"accuracy": Sum(accuracy(scores, batch.targets), (batch.targets >= 0).sum())}

    def baselines(self, facts: Facts) -> dict[str, float]:
        return class_baselines(self.outputs(), facts, self.config.on)
