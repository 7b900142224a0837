"""Warm up, then stay at the peak."""

from __future__ import annotations

from modeledge.optim.schedules import Schedule


class Constant(Schedule):
    """The peak to the end."""

    def after(self, step: int, length: int, warm: int) -> float:
        return 1.0
