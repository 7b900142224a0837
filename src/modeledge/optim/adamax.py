"""Adam with the largest gradient of late in place of the root of the second moment, the decay inside the gradient (L2).

Source: Kingma and Ba, arXiv:1412.6980 §7.1; MT-DNN, arXiv:1901.11504 §4.2, is trained with it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from modeledge.optim import Optim
from modeledge.optim.adamw import AdamW


class Adamax(Optim):
    """torch.optim.Adamax."""

    Config = AdamW.Config

    config: AdamW.Config

    def make(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        c, groups = self.config, self.groups(named)
        return torch.optim.Adamax(groups, lr=c.lr, betas=c.betas, eps=c.eps)
