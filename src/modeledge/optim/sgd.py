"""Stochastic gradient descent with momentum.

The decay is inside the gradient (L2), as in the vision literature."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field, model_validator
from torch import nn

from modeledge.optim import Optim


class SGD(Optim):
    """torch.optim.SGD."""

    class Config(Optim.Config):
        """momentum: of the velocity; nesterov: look ahead."""

        momentum: float = Field(0.0, ge=0, lt=1)
        nesterov: bool = False

        @model_validator(mode="after")
        def _ahead(self) -> SGD.Config:
            if self.nesterov and not self.momentum:
                raise ValueError("nesterov looks ahead along the momentum, which is 0; set momentum, e.g. 0.9")
            return self

    config: Config

    def make(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        c = self.config
        return torch.optim.SGD(self.groups(named), lr=c.lr, momentum=c.momentum, nesterov=c.nesterov)
