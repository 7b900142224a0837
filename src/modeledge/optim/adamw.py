"""Adam with decoupled weight decay.

Source: Loshchilov and Hutter, arXiv:1711.05101; torch's fused kernel."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

from modeledge.optim import Betas, Optim


class AdamW(Optim):
    """torch.optim.AdamW."""

    class Config(Optim.Config):
        """betas: decay of the two moments; eps: added to the root of the second."""

        betas: Betas = (0.9, 0.999)
        eps: float = Field(1e-8, gt=0)

    config: Config

    def make(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        c, groups = self.config, self.groups(named)
        return torch.optim.AdamW(groups, lr=c.lr, betas=c.betas, eps=c.eps, fused=True)
