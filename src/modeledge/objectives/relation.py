"""Say how the texts of a row stand to each other, where the source of the rows knows it.

Sources: real or made-up dialogues, ERNIE, arXiv:1904.09223 §3.3; the order of pieces, the distance and the discourse
relation of sentences, ERNIE 2.0, arXiv:1907.12412 §4.2. Not here: two classes of BERT and ALBERT (nsp.py, sop.py),
labels of tables (classify.py)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from torch import nn

from modeledge.core import Batch, Facts, RecipeError
from modeledge.objectives.nsp import NextSentence


class Relation(NextSentence):
    """Classify the pooled state; reads the field of the batch that is named."""

    class Config(NextSentence.Config):
        """field: where the source says the class (`fake` dialogues, `arrangement` of pieces, `distance`, `discourse`);
        classes: how many there are."""

        field: Literal["fake", "arrangement", "distance", "discourse"]
        classes: int = Field(2, ge=2)

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.field, self.needs = config.field, ("ids", config.field)

    def outputs(self) -> int:
        return self.config.classes

    def counts(self, batch: Batch) -> dict[str, float]:
        """Raises RecipeError if the source has more classes."""
        if (most := int(np.max(batch[self.field], initial=0))) >= self.config.classes:
            raise RecipeError(
                f"objectives.{self.losses[0]}.classes: {self.config.classes}, but its data has a class {most} "
                f"(from 0) in {self.field!r}\n  next: --set the classes to what the source tells apart"
            )
        return super().counts(batch)
