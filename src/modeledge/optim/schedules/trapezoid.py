"""Warm up, stay, and fall only at the end (warm-up, stable, decay).

Source: Hu et al., arXiv:2404.06395 §4; a run can be prolonged from any point of the flat part."""

from __future__ import annotations

from pydantic import Field

from modeledge.optim.schedules import Schedule


class Trapezoid(Schedule):
    """Flat, then linear over the last `decay` share of the run."""

    class Config(Schedule.Config):
        """decay: share of the steps after the warm-up that fall."""

        decay: float = Field(0.2, gt=0, le=1)

    config: Config

    def after(self, step: int, length: int, warm: int) -> float:
        fall = max(1, round(self.config.decay * length))
        left = length - step
        return self.fall(min(1.0, left / fall))
