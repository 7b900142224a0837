"""Adam with the decay inside the gradient (L2).

Source: Kingma and Ba, arXiv:1412.6980; torch's fused kernel."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from modeledge.optim import Optim
from modeledge.optim.adamw import AdamW


class Adam(Optim):
    """torch.optim.Adam."""

    Config = AdamW.Config

    config: AdamW.Config

    def make(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        c, groups = self.config, self.groups(named)
        return torch.optim.Adam(groups, lr=c.lr, betas=c.betas, eps=c.eps, fused=True)
