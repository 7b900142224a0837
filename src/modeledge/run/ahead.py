"""Steps that were given to a device and not asked about yet: a GPU computes them while the next batches are made.

Asking waits for everything the device was given, so it is done for several steps at once."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from modeledge.run.feed import Step

IMPATIENCE = 0.5
"""Seconds after which the steps are asked about if nothing asked before."""


@dataclass
class Taken:
    """An optimizer step whose numbers, the sum of each loss and the gradient's norm, stay on the device until they are
    asked for.

    lr: its learning rate; good: whether it was applied; tokens: those of the run up to and with it."""

    step: Step
    names: list[str]
    numbers: Tensor
    lr: float
    good: bool = True
    tokens: int = 0

    @cached_property
    def told(self) -> tuple[dict[str, float], float]:
        """(Mean loss by name, gradient norm.)"""
        return self.read(self.numbers.tolist())

    def read(self, numbers: list[float]) -> tuple[dict[str, float], float]:
        """The same from numbers that were brought here with those of other steps."""
        *sums, norm = numbers
        return {k: v / max(self.step.counts[k], 1) for k, v in zip(self.names, sums, strict=True)}, norm

    @property
    def finite(self) -> bool:
        """Whether all of its numbers are."""
        means, norm = self.told
        return all(map(math.isfinite, [*means.values(), norm]))


class Ahead:
    """The steps not asked about, and the clock of those that were."""

    def __init__(self) -> None:
        self.open: list[Taken] = []
        self.mark = time.perf_counter()
        self.spent, self.tokens = 0.0, 0

    @property
    def due(self) -> bool:
        """Whether it was long ago that somebody asked."""
        return time.perf_counter() - self.mark >= IMPATIENCE

    def hear(self) -> list[tuple[Taken, float]]:
        """The open steps with their numbers (one wait for all) and the seconds of each: an equal share of the time
        since the last of these calls."""
        taken, self.open = self.open, []
        untold = [t for t in taken if "told" not in t.__dict__]
        numbers = iter(torch.cat([t.numbers for t in untold]).tolist() if untold else ())
        for t in untold:
            t.told = t.read([next(numbers) for _ in range(len(t.names) + 1)])
        now = time.perf_counter()
        each, self.mark = (now - self.mark) / max(len(taken), 1), now
        return [(t, each) for t in taken]

    def count(self, seconds: float, tokens: int) -> None:
        """Add a step to what the next rate is of."""
        self.spent, self.tokens = self.spent + seconds, self.tokens + tokens

    def rate(self) -> float:
        """Tokens a second since the last of these calls."""
        found = self.tokens / max(self.spent, 1e-9)
        self.spent, self.tokens = 0.0, 0
        return found
