"""A short climb and a long fall, both in a straight line, from a fraction of the peak rate and back to it.

Source: slanted triangular learning rates, ULMFiT, arXiv:1801.06146 §3.2. The paper's fall has the slope of a climb of
exactly the share `warmup`; where rounding makes the climb shorter that would end below zero, so here it ends with the
run."""

from __future__ import annotations

from pydantic import Field

from modeledge.optim.schedules import Schedule


class Slanted(Schedule):
    """Begins and ends at the final factor: a 32nd of the peak."""

    class Config(Schedule.Config):
        """warmup: of the climb, in steps, or a share of the run if below 1."""

        warmup: float = Field(0.1, ge=0)
        final: float = Field(1 / 32, ge=0, le=1)

    def warmup(self, total: int) -> int:
        w = self.config.warmup
        return min(total, int(w * total + 1e-9) if w < 1 else int(w))

    def factor(self, step: int, total: int) -> float:
        cut = self.warmup(total)
        return self.fall(step / cut if step < cut else 1 - (step - cut) / max(1, total - cut))
