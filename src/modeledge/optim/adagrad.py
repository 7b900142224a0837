"""AdaGrad: each number's step shrinks with the squares of its past gradients; one without a gradient stays as it is.

Source: Duchi et al., JMLR 12, 2011; torch.optim.Adagrad."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

from modeledge.optim import Optim


class Adagrad(Optim):
    """torch.optim.Adagrad."""

    class Config(Optim.Config):
        """start: of the sums of squares (GloVe and ELMo's released trainers: 1.0); eps: added to their root."""

        lr: float = Field(0.2, ge=0)
        start: float = Field(0.0, ge=0)
        eps: float = Field(1e-10, gt=0)

    config: Config

    def make(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        c = self.config
        return torch.optim.Adagrad(self.groups(named), lr=c.lr, initial_accumulator_value=c.start, eps=c.eps)
