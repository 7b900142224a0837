"""Say of every token whether it has a property that the source of the rows marks.

Source: capitalised words, and words that stand elsewhere in the document too: ERNIE 2.0, arXiv:1907.12412 §4.2.1. Not
here: replaced tokens (rtd.py), tags of a table (tag.py)."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Output, PartConfig, Slot, Sum, build, part
from modeledge.losses.binary import binary_cross_entropy
from modeledge.objectives import Objective


class Flag(Objective):
    """Yes or no at every ordinary token, hidden ones included."""

    class Config(Objective.Config):
        """field: where the source says it (`capitals`, `recurs`)."""

        field: Literal["capitals", "recurs"]
        head: Annotated[PartConfig, Slot("heads")] = part("per_token")

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone, outputs=1)
        self.needs = ("ids", "special", config.field)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(np.sum(~batch.special))}

    def scores(self, out: Output) -> Tensor:
        """The log-odds of yes: b t."""
        return self.head(out.states).squeeze(-1)

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        return {self.losses[0]: binary_cross_entropy(self.scores(out), batch[self.config.field], ~batch.special)}

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        counted, right = ~batch.special, (self.scores(out) > 0) == batch[self.config.field]
        return {"accuracy": Sum((right & counted).sum(), counted.sum())}
