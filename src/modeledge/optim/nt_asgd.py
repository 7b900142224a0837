"""Plain steps until the held-out loss stops falling, then the mean of all further ones.

Source: AWD-LSTM, arXiv:1708.02182 §3 (non-monotonically triggered averaged SGD). The decay is inside the gradient."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

from modeledge.optim import Optim
from modeledge.optim._averaged import AveragedSGD


class NTASGD(Optim):
    """Needs `loop.evaluate.every`: without held-out losses the mean never begins."""

    class Config(Optim.Config):
        """patience: how many evaluations the loss may lie above its best before them."""

        lr: float = Field(30.0, ge=0)
        patience: int = Field(5, ge=1)

    config: Config

    def make(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        return AveragedSGD(self.groups(named), lr=self.config.lr, patience=self.config.patience)
