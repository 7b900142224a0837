"""Muon for the matrices inside the blocks, AdamW for everything else (tables, heads, norms, biases).

Sources: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the length of the step matched
to AdamW's, so that one learning rate serves both: Liu et al., arXiv:2502.16982 §2.2. Both are torch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pydantic import Field
from torch import nn
from torch.optim import Optimizer

from modeledge.optim import Betas, Optim


class Muon(Optim):
    """Momentum made orthogonal by a Newton-Schulz iteration, for matrices; AdamW for the rest."""

    class Config(Optim.Config):
        """momentum: of Muon (Nesterov's); betas, eps: of AdamW; tables: AdamW's learning rate over Muon's."""

        momentum: float = Field(0.95, ge=0, lt=1)
        betas: Betas = (0.9, 0.95)
        eps: float = Field(1e-8, gt=0)
        tables: float = Field(1.0, gt=0)

    config: Config

    def make(self, named: Iterable[tuple[str, nn.Parameter]]) -> Optimizer:
        c, named = self.config, list(named)
        inner = self.groups((n, p) for n, p in named if is_hidden_matrix(n, p))
        outer = self.groups(((n, p) for n, p in named if not is_hidden_matrix(n, p)), lr=c.lr * c.tables)
        parts: list[Optimizer] = []
        if inner:
            how: dict[str, Any] = {"lr": c.lr, "weight_decay": c.weight_decay, "momentum": c.momentum}
            parts.append(torch.optim.Muon(inner, adjust_lr_fn="match_rms_adamw", **how))
        if outer:
            parts.append(torch.optim.AdamW(outer, lr=c.lr * c.tables, betas=c.betas, eps=c.eps, fused=True))
        return Together(parts)


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon moves this parameter: a trained matrix inside the blocks of a stack."""
    return parameter.requires_grad and parameter.ndim == 2 and "blocks" in name.split(".")


class Together(Optimizer):
    """Several optimizers over different parameters as one: their groups side by side, one state."""

    def __init__(self, parts: list[Optimizer]):
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.share()

    def share(self) -> None:
        """Give each part its own groups, and all of them the one state."""
        first = 0
        for part in self.parts:
            end = first + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[first:end], self.state
            first = end

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.share()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every part."""
        value = closure() if closure is not None else None
        for part in self.parts:
            part.step()
        return value
