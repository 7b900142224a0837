"""LAMB: Adam's direction, its length set per tensor by the ratio of the weights' norm to the step's.

Source: You et al., arXiv:1904.00962, algorithm 2 (with bias correction, as the released code)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from modeledge.optim import Betas, Optim


class Lamb(Optim):
    """Layer-wise adaptive moments for large batches."""

    class Config(Optim.Config):
        """betas, eps: as in Adam; most: the largest trust ratio."""

        betas: Betas = (0.9, 0.999)
        eps: float = Field(1e-6, gt=0)
        most: float = Field(10.0, gt=0)

    config: Config

    def make(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        c = self.config
        return LambOptimizer(self.groups(named), lr=c.lr, betas=c.betas, eps=c.eps, most=c.most)


class LambOptimizer(torch.optim.Optimizer):
    """The optimizer itself; state per parameter: step, exp_avg, exp_avg_sq."""

    def __init__(self, groups: Any, *, lr: float, betas: tuple[float, float], eps: float, most: float):
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "most": most, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step over every parameter with a gradient."""
        value = closure() if closure is not None else None
        for group in self.param_groups:
            live = [p for p in group["params"] if p.grad is not None]
            if live:
                self._move(live, group)
        return value

    def _move(self, live: list[nn.Parameter], group: dict[str, Any]) -> None:
        for p in live:
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
            state["step"] += 1
        grads = [p.grad for p in live if p.grad is not None]
        first = [self.state[p]["exp_avg"] for p in live]
        second = [self.state[p]["exp_avg_sq"] for p in live]
        weights: list[Tensor] = list(live)
        (beta1, beta2), times = group["betas"], [float(self.state[p]["step"]) for p in live]
        torch._foreach_lerp_(first, grads, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
        root = torch._foreach_sqrt(torch._foreach_div(second, [1 - beta2**t for t in times]))
        torch._foreach_add_(root, group["eps"])
        step = torch._foreach_div(torch._foreach_div(first, [1 - beta1**t for t in times]), root)
        if group["weight_decay"]:
            torch._foreach_add_(step, weights, alpha=group["weight_decay"])
        sizes, lengths = (torch.stack(torch._foreach_norm(x)) for x in (weights, step))
        ratios = torch.where((sizes > 0) & (lengths > 0), sizes / lengths, 1.0).clamp(max=group["most"])
        for p, s, ratio in zip(live, step, ratios, strict=True):
            p.addcmul_(s, ratio, value=-group["lr"])
