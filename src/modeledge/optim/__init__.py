"""Optimizers: one file an algorithm, torch's own where it exists. Schedules stand in schedules/."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field
from torch import nn
from torch.optim import Optimizer

from modeledge.core import Part, PartConfig


class Optim(Part):
    """Makes a torch optimizer for named parameters. Biases and norms (fewer than two dimensions) are never decayed."""

    class Config(PartConfig):
        """lr: peak learning rate; weight_decay: decoupled unless the kind says otherwise."""

        lr: float = Field(1e-3, ge=0)
        weight_decay: float = Field(0.0, ge=0)

    def __init__(self, config: Any):
        self.config = config

    def groups(self, named: Iterable[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
        """Two groups, decayed and not, in the order of the names; a parameter that needs no gradient is in neither."""
        live = [(n, p) for n, p in named if p.requires_grad]
        decayed = [p for _, p in live if p.ndim >= 2]
        plain = [p for _, p in live if p.ndim < 2]
        decay = self.config.weight_decay
        groups = [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
        return [g for g in groups if g["params"]]

    def make(self, named: Iterable[tuple[str, nn.Parameter]]) -> Optimizer:
        """The optimizer over these parameters, at the peak learning rate."""
        raise NotImplementedError


def exchange(optimizer: Optimizer) -> None:
    """Put in place of the parameters the averages an optimizer keeps, if it keeps any; a second call puts them back."""
    swap = getattr(optimizer, "swap", None)
    if swap is not None:
        swap()


def tell(optimizer: Optimizer, loss: float) -> None:
    """A held-out loss, to an optimizer that goes by it."""
    hear = getattr(optimizer, "hear", None)
    if hear is not None:
        hear(loss)
