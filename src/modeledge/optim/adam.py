"""Adam with the decay inside the gradient (L2).

Source: Kingma and Ba, arXiv:1412.6980; torch's fused kernel."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

from modeledge.optim import Optim


class Adam(Optim):
    """torch.optim.Adam."""

    class Config(Optim.Config):
        """betas: decay of the two moments; eps: added to the root of the second."""

        betas: tuple[float, float] = (0.9, 0.999)
        eps: float = Field(1e-8, gt=0)

    config: Config

    def make(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        c, groups = self.config, self.groups(named)
        return torch.optim.Adam(groups, lr=c.lr, betas=c.betas, eps=c.eps, fused=True)
