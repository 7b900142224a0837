"""Optimizers: one file an algorithm, torch's own where it exists. Schedules stand in schedules/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field
from torch import nn
from torch.optim import Optimizer

from modeledge.core import Part, PartConfig

Decay = Annotated[float, Field(ge=0, lt=1)]
Betas = tuple[Decay, Decay]
"""How much of the first and of the second moment each step keeps."""


class Optim(Part):
    """Makes a torch optimizer for named parameters. Biases and norms (fewer than two dimensions) are never decayed."""

    class Config(PartConfig):
        """lr: peak learning rate; weight_decay: decoupled unless the kind says otherwise; layer_decay: the rate of a
        layer over that of the layer above it (ULMFiT, arXiv:1801.06146 §3.2: 1/2.6)."""

        lr: float = Field(1e-3, ge=0)
        weight_decay: float = Field(0.0, ge=0)
        layer_decay: float = Field(1.0, gt=0, le=1)

    def __init__(self, config: Any, above: Mapping[str, int] | None = None):
        """above: over how many groups of layers each parameter lies, by name (default: none)."""
        self.config = config
        self.above = dict(above or {}) if config.layer_decay < 1 else {}

    def groups(self, named: Iterable[tuple[str, nn.Parameter]], *, lr: float | None = None) -> list[dict[str, Any]]:
        """For each learning rate, from the top layers down, two groups, decayed and not, in the order of the names; a
        parameter that needs no gradient is in none. `lr`: of the top layers (default: the recipe's)."""
        live = [(self.above.get(n, 0), p) for n, p in named if p.requires_grad]
        groups: list[dict[str, Any]] = []
        for depth in sorted({depth for depth, _ in live}):
            here = [p for d, p in live if d == depth]
            rate = (self.config.lr if lr is None else lr) * self.config.layer_decay**depth
            for weights, decay in (
                ([p for p in here if p.ndim >= 2], self.config.weight_decay),
                ([p for p in here if p.ndim < 2], 0.0),
            ):
                groups += [{"params": weights, "weight_decay": decay, "lr": rate}] if weights else []
        return groups

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
