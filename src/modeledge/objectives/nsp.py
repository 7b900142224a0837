"""Next-sentence prediction: does the second segment follow the first, or does it come from elsewhere?

Source: BERT, arXiv:1810.04805 §3.1. The source of the rows makes the pairs (data.sources, `negative: random`); about
half of them or more are random, as in the released builder. Not here: the order of two segments (sop.py)."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from torch import nn

from modeledge.core import Batch, Facts, Output, PartConfig, Slot, Sum, build, part
from modeledge.losses.cross_entropy import accuracy, cross_entropy
from modeledge.objectives import Objective


class NextSentence(Objective):
    """Classify the pooled state; reads `is_next` (0 = next, 1 = random)."""

    field = "is_next"
    needs = ("ids", "is_next")

    class Config(Objective.Config):
        """head: from the pooled state to two scores."""

        head: Annotated[PartConfig, Slot("heads")] = part("classifier")

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone, outputs=self.outputs())

    def outputs(self) -> int:
        """How many classes there are."""
        return 2

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(np.size(batch[self.field]))}

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        return {self.losses[0]: cross_entropy(self.head(out.pooled), batch[self.field])}

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        labels = batch[self.field]
        return {"accuracy": Sum(accuracy(self.head(out.pooled), labels), (labels >= 0).sum())}

    def baselines(self, facts: Facts) -> dict[str, float]:
        return {"uniform": math.log(self.outputs())}
