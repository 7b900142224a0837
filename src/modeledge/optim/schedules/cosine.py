"""Warm up, then half a cosine. Source: Loshchilov and Hutter, arXiv:1608.03983, without restarts; GPT."""

from __future__ import annotations

import math

from modeledge.optim.schedules import Schedule


class Cosine(Schedule):
    """Half a cosine down to the final factor."""

    def after(self, step: int, length: int, warm: int) -> float:
        return self.fall((1 + math.cos(math.pi * step / length)) / 2)
