"""One sequence of states from those of all layers: gamma * sum of softmax(w)_j h_j.

Source: ELMo, arXiv:1802.05365 §3.2 eq. 1; the sum has one term a layer, the input first, each with its directions
side by side. w and gamma are learned with the task, which begins at the plain mean. Any backbone that keeps its
layers will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Output, Part, PartConfig
from modeledge.layers.dropout import Dropout


class ScalarMix(nn.Module, Part):
    """mix(out, batch): the mixed states b t d of a pass that was asked to keep `reads`."""

    class Config(PartConfig):
        """norm: each layer's states brought to mean 0 and variance 1 first, place by place, so that padding has no part
        in it; penalty: lambda of `penalty()`; dropout: on the mix."""

        norm: Literal["none", "layer"] = "none"
        penalty: float = Field(0.0, ge=0)
        dropout: float = Field(0.0, ge=0, lt=1)

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__()
        self.config, self.width = config, backbone.width
        self.reads = ("embedding", *(f"blocks.{i}" for i in range(backbone.config.layers)))
        self.weights = nn.Parameter(torch.zeros(len(self.reads)))
        self.gamma = nn.Parameter(torch.ones(()))
        self.dropout = Dropout(config.dropout)

    def forward(self, out: Output, batch: Batch) -> Float[Tensor, "b t d"]:
        """The layers of a pass, mixed, place by place."""
        return self.mix([out.kept[name] for name in self.reads])

    def mix(self, layers: Sequence[Float[Tensor, "*b d"]]) -> Float[Tensor, "*b d"]:
        """States of all layers, the input first, mixed."""
        if self.config.norm == "layer":
            layers = [F.layer_norm(x, x.shape[-1:]) for x in layers]
        mixed = sum(share * x for share, x in zip(self.shares(), layers, strict=True))
        return self.dropout(self.gamma * mixed)

    def shares(self) -> Float[Tensor, " l"]:
        """How much each layer counts; they sum to 1."""
        return self.weights.softmax(0)

    def penalty(self) -> Float[Tensor, ""]:
        """lambda * |w|^2, to be added to the task's mean loss: pulls towards the plain mean, leaves gamma alone."""
        return self.config.penalty * self.weights.square().sum()
