"""What skip-gram and CBOW share: who is in whose context, and what knowing nothing costs."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Output, PartConfig, RecipeError, Slot, build, part
from modeledge.objectives import Objective, Rule, own_document
from modeledge.visibility import Seen, see
from modeledge.visibility.around import around

HEADS = ("negative_sampling", "hierarchical_softmax")


class WordContext(Objective):
    """Words and their neighbours within `reach`, held against noise or as walks down a tree.

    Drawn noise that is the true word is left out of that pair, as in the released tool, so a pair now and then has a
    little less noise than k words."""

    class Config(Objective.Config):
        """head: negative_sampling (a table of words and noise) or hierarchical_softmax (a tree)."""

        head: Annotated[PartConfig, Slot("heads")] = part("negative_sampling")

    config: Config
    needs = ("ids", "reach")

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        if config.head.kind not in HEADS:
            raise RecipeError(f"objective {self.losses[0]}: head: {config.head.kind!r} is none of {', '.join(HEADS)}")
        self.head = build("heads", config.head, facts, backbone)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        return batch.but(**self.head.view(batch, rng))

    def visible(self, batch: Batch) -> Rule:
        return own_document(batch, around(batch.reach))

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        """The states without visibility: here it says which pairs are true, not what a state may read."""
        return backbone(batch, Seen(), **options)

    def pairs(self, batch: Batch) -> Float[Tensor, "b t s"]:
        """1 where the word in column s is in the context of the word in row t."""
        mask = see(self.visible(batch), *batch.ids.shape, device=batch.ids.device).mask
        assert mask is not None
        return mask[:, 0].float()

    def baselines(self, facts: Facts) -> dict[str, float]:
        if self.config.head.kind == "hierarchical_softmax":  # a distribution; subsampling changes the frequencies
            return {"uniform": math.log(facts.vocab)}
        return {"uniform": (1 + self.head.config.negatives) * math.log(2)}
