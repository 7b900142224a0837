"""Warm up, then a power of what remains. Source: the released BERT and ALBERT optimizers."""

from __future__ import annotations

from pydantic import Field

from modeledge.optim.schedules import Schedule


class Polynomial(Schedule):
    """(1 - t) to a power."""

    class Config(Schedule.Config):
        """power: 1 is linear."""

        power: float = Field(1.0, gt=0)

    config: Config

    def after(self, step: int, length: int, warm: int) -> float:
        return self.fall((1 - step / length) ** self.config.power)
