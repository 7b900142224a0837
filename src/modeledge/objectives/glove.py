"""GloVe: vectors whose products are the logarithms of how often words stand near each other.

Source: Pennington et al., EMNLP 2014. A word is read off a table, its contexts off the head's; the vector of a word is
the sum of its two (§4.2)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Output, PartConfig, RecipeError, Slot, Sum, build, part
from modeledge.losses.weighted_squares import weighted_squares
from modeledge.objectives import Objective, Rule
from modeledge.visibility.full import full


class GloVe(Objective):
    """Count: cells of the matrix that are not zero."""

    class Config(Objective.Config):
        """full: the count from which on a cell weighs 1; power: how fast rarer ones weigh less; head: the contexts'
        table and the biases."""

        full: float = Field(100.0, gt=0)
        power: float = Field(0.75, ge=0)
        head: Annotated[PartConfig, Slot("heads")] = part("context")

    config: Config
    needs = ("ids", "others", "together")

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        if config.head.kind != "context" or getattr(backbone, "embed", None) is None:
            raise RecipeError(f"objective {self.losses[0]}: needs a table of word vectors and the head 'context'")
        self.head = build("heads", config.head, facts, backbone)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(np.count_nonzero(batch.together))}

    def visible(self, batch: Batch) -> Rule:
        """A row is a list of cells, not a text."""
        return full

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        scores = self.head(out.states, batch.ids, batch.others)
        return {
            self.losses[0]: weighted_squares(scores, batch.together, full=self.config.full, power=self.config.power)
        }

    def vectors(self, backbone: nn.Module) -> Float[Tensor, "v d"]:
        """What GloVe is used for: the sum of each word's vectors as word and as context."""
        return (backbone.embed.weight + self.head.weight).detach()  # type: ignore[union-attr, operator]
