"""Learning-rate schedules: the factor of the peak rate at a step. Pure functions of (step, total): nothing is saved."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from modeledge.core import Part, PartConfig


class Schedule(Part):
    """A factor in 0..1 for each step: a linear warm-up, then what the kind says.

    Steps count from 0; the first step already moves (factor 1/warmup)."""

    class Config(PartConfig):
        """warmup: steps, or a share of the run if below 1; final: the factor at the end."""

        warmup: float = Field(0.0, ge=0)
        final: float = Field(0.0, ge=0, le=1)

    def __init__(self, config: Any):
        self.config = config

    def warmup(self, total: int) -> int:
        """The warm-up in steps; never more than the run has."""
        w = self.config.warmup
        return min(total, round(w * total) if w < 1 else int(w))

    def factor(self, step: int, total: int) -> float:
        """The factor at `step` of `total`."""
        warm = self.warmup(total)
        if step < warm:
            return (step + 1) / warm
        return self.after(step - warm, max(1, total - warm), warm)

    def after(self, step: int, length: int, warm: int) -> float:
        """The factor `step` steps after the warm-up, of `length` that remain."""
        raise NotImplementedError

    def fall(self, share: float) -> float:
        """A share in 0..1 (1: start) stretched to end at `final`."""
        return self.config.final + (1 - self.config.final) * share
