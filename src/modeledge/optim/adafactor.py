"""Adafactor: second moments kept as row and column sums, steps scaled by the size of the parameter.

Source: Shazeer and Stern, arXiv:1804.04235. torch's implementation: lr is the cap of the relative step, there is no
first moment. Not here: T5's fixed 1/sqrt(t), which is the schedule inverse_sqrt."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

from modeledge.optim import Optim


class Adafactor(Optim):
    """torch.optim.Adafactor."""

    class Config(Optim.Config):
        """beta2_decay: exponent of the second moment's decay over time; clip: largest root mean square of a step."""

        beta2_decay: float = Field(-0.8, lt=0)
        clip: float = Field(1.0, gt=0)

    config: Config

    def make(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        c = self.config
        return torch.optim.Adafactor(self.groups(named), lr=c.lr, beta2_decay=c.beta2_decay, d=c.clip)
