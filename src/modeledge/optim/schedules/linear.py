"""Warm up, then fall in a straight line. Source: BERT, arXiv:1810.04805 appendix A.2."""

from __future__ import annotations

from modeledge.optim.schedules import Schedule


class Linear(Schedule):
    """Down to the final factor at the last step."""

    def after(self, step: int, length: int, warm: int) -> float:
        return self.fall(1 - step / length)
