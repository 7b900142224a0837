"""Stochastic gradient descent that keeps the mean of its steps once told to.

Not here: the recipe's settings (nt_asgd.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class AveragedSGD(torch.optim.SGD):
    """`hear` a held-out loss now and then: averaging begins when one is worse than the best of those more than
    `patience` before it. `swap` exchanges the parameters with their averages, and back."""

    def __init__(self, groups: Any, *, lr: float, patience: int):
        super().__init__(groups, lr=lr)
        self.patience = patience

    @property
    def known(self) -> list[torch.Tensor]:
        """All parameters, in the order of the groups."""
        return [p for group in self.param_groups for p in group["params"]]

    @property
    def averages(self) -> bool:
        """Whether averaging has begun."""
        return "average" in self.state[self.known[0]]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        found = super().step(closure)
        if self.averages:
            for p in self.known:
                state = self.state[p]
                state["steps"] += 1
                state["average"].lerp_(p, 1 / state["steps"])
        return found

    @torch.no_grad()
    def hear(self, loss: float) -> None:
        """A held-out loss."""
        heard = self.state[self.known[0]].setdefault("heard", [])
        if not self.averages and len(heard) > self.patience and loss > min(heard[: -self.patience]):
            for p in self.known:
                self.state[p] |= {"average": p.detach().clone(), "steps": 0}
        heard.append(loss)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange parameters and averages; nothing before a first step was averaged."""
        for p in self.known:
            if self.state[p].get("steps"):
                now = p.detach().clone()
                p.copy_(self.state[p]["average"])
                self.state[p]["average"].copy_(now)
