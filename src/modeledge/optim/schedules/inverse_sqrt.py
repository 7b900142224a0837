"""Warm up, then 1/sqrt(step). Source: Vaswani et al., arXiv:1706.03762 §5.3; T5 with a constant warm-up."""

from __future__ import annotations

from modeledge.optim.schedules import Schedule


class InverseSqrt(Schedule):
    """The peak at the end of the warm-up, then falling with the root of the step."""

    def after(self, step: int, length: int, warm: int) -> float:
        start = max(1, warm)
        return max(self.config.final, (start / (start + step)) ** 0.5)
