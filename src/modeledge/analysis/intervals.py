"""Means over seeds and how far they can be trusted: Student's t-interval, paired where two arms share seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean over `n` runs and the half-width of its 95 % interval (nan with a single run)."""

    mean: float
    half: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.n < 2 else f"{self.mean:.3f} ± {self.half:.3f}"

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out zero: for a difference, that one side is better."""
        return self.n > 1 and abs(self.mean) > self.half

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON, which has no nan."""
        return {"mean": self.mean, "half": None if np.isnan(self.half) else self.half, "n": self.n}


@cache
def quantile(degrees: int, *, level: float = 0.95) -> float:
    """The t for which |T| <= t with probability `level`, T Student's with `degrees` of freedom; to about 1e-6.

    With t = sqrt(degrees) tan(a) this is the integral of cos^(degrees - 1) from 0 to a over that to pi/2."""
    angle = np.linspace(0, np.pi / 2, 200_001)
    weight = np.cos(angle) ** (degrees - 1)
    share = np.concatenate([[0], np.cumsum((weight[1:] + weight[:-1]) / 2)])
    return float(np.sqrt(degrees) * np.tan(np.interp(level, share / share[-1], angle)))


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % t-interval of independent runs."""
    x = np.asarray(values, np.float64)
    if len(x) < 2:
        return Interval(float(x.mean()), float("nan"), len(x))
    return Interval(float(x.mean()), quantile(len(x) - 1) * float(x.std(ddof=1)) / len(x) ** 0.5, len(x))


def difference(left: Mapping[int, float], right: Mapping[int, float]) -> Interval:
    """right - left over the seeds both have: the interval of the paired differences."""
    seeds = [s for s in left if s in right]
    return interval([right[s] - left[s] for s in seeds])
