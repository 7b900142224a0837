"""A recurrent language model: the next word from the states of all before it, which are to be small and change slowly.

Source: AWD-LSTM, arXiv:1708.02182 §4.6 and its released code: the squares of the last layer's states as they leave
dropout (activation) and of the steps between its states before dropout (change) are added to the loss. The target of a
row's last word is the first of the next row; it is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Output, RecipeError, Sum
from modeledge.objectives._carry import Carry
from modeledge.objectives.clm import CausalLM


class RecurrentLM(Carry, CausalLM):
    """Losses: the language model's, in nats a word, and the two penalties, means of squares over places and widths."""

    class Config(Carry.Config, CausalLM.Config):
        """activation, change: factors of the penalties (alpha and beta)."""

        activation: float = Field(0.0, ge=0)
        change: float = Field(0.0, ge=0)

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        name = config.name or config.kind
        self.losses = (name, f"{name}.activation", f"{name}.change")
        super().__init__(config, facts, backbone)
        if len(backbone.stacks) > 1:
            raise RecipeError(
                f"objective {name}: the backbone reads what is to be predicted\n  next: directions: forward"
            )
        self.last = f"blocks.{backbone.config.layers - 1}"

    def weights(self, step: int, total: int) -> dict[str, float]:
        factors = (1.0, self.config.activation, self.config.change)
        own = self.weight(step, total)
        return {name: own * factor for name, factor in zip(self.losses, factors, strict=True)}

    def counts(self, batch: Batch) -> dict[str, float]:
        valid = batch.valid if "valid" in batch else np.ones(batch.ids.shape, bool)
        places = (valid.sum(), (valid[:, 1:] & valid[:, :-1]).sum())
        return super().counts(batch) | dict(zip(self.losses[1:], map(float, places), strict=True))

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        return super().run(backbone, batch, **options | {"keep": {*options.get("keep", ()), self.last}})

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        states: Tensor = out.states  # type: ignore[assignment]
        valid = batch.valid if "valid" in batch else batch.ids.new_ones(batch.ids.shape).bool()
        both = valid[:, 1:] & valid[:, :-1]
        steps = out.kept[self.last].diff(dim=1)
        penalties = [
            Sum((x.float().square().mean(-1) * where).sum(), where.sum())
            for x, where in ((states, valid), (steps, both))
        ]
        return super().loss(out, batch) | dict(zip(self.losses[1:], penalties, strict=True))
