"""Muon for the matrices inside the blocks, AdamW for everything else (tables, heads, norms, biases).

Sources: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the length of the step matched
to AdamW's, so that one learning rate serves both: Liu et al., arXiv:2502.16982 §2.2. Both are torch's own, but that
matrices of one shape are made orthogonal together: the products of a narrow model's are too small to be worth one call
each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
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
            parts.append(_Muon(inner, adjust_lr_fn="match_rms_adamw", **how))
        if outer:
            parts.append(torch.optim.AdamW(outer, lr=c.lr * c.tables, betas=c.betas, eps=c.eps, fused=True))
        return Together(parts)


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon moves this parameter: a trained matrix inside the blocks of a stack."""
    return parameter.requires_grad and parameter.ndim == 2 and "blocks" in name.split(".")


AT_ONCE = 2**22
"""Elements that are made orthogonal together; of large matrices, one at a time."""


class _Muon(torch.optim.Muon):
    """torch's, with its state; a step takes the matrices of one shape together."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append(p)
            for shape, parameters in alike.items():
                most = max(1, AT_ONCE // shape.numel())
                for first in range(0, len(parameters), most):
                    self.move(group, parameters[first : first + most])

    def move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of matrices of one shape."""
        grads = [p.grad for p in parameters if p.grad is not None]
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        moments = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_lerp_(moments, grads, 1 - group["momentum"])
        ahead = torch._foreach_lerp(grads, moments, group["momentum"])  # Nesterov's
        steps = orthogonal(torch.stack(list(ahead)), group["ns_coefficients"], group["ns_steps"], group["eps"])
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        length = 0.2 * math.sqrt(max(parameters[0].shape))
        torch._foreach_add_(parameters, list(steps.to(parameters[0].dtype)), alpha=-group["lr"] * length)


def orthogonal(
    x: Float[Tensor, "n r c"], coefficients: tuple[float, float, float], steps: int, eps: float
) -> Float[Tensor, "n r c"]:
    """Each matrix with its singular values near one: so many steps of the Newton-Schulz iteration, in bf16."""
    a, b, c = coefficients
    tall = x.shape[1] > x.shape[2]
    x = (x.mT if tall else x).bfloat16().contiguous()
    x = x / x.flatten(1).norm(dim=1).clamp(min=eps)[:, None, None]
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


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
