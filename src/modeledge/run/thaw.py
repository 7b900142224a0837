"""Which layers are trained at a step: a function of the step alone, so that a run is resumed where it was.

Source: gradual unfreezing, ULMFiT, arXiv:1801.06146 §3.3; unequal times, SiATL's released code."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from modeledge.recipe.schema import Unfreeze


def live_groups(unfreeze: Unfreeze, step: int, total: int, *, groups: int) -> int:
    """How many of the groups, counted from the top, are trained at `step` of `total`."""
    joins, further = unfreeze.joins, range(1, groups)
    if isinstance(joins, tuple):
        begins = [joins[min(i, len(joins)) - 1] for i in further]
        begins = [b if b >= 1 else b * total for b in begins]
    else:
        begins = [i * (joins if joins >= 1 else joins * total) for i in further]
    return 1 + sum(step >= b for b in begins)


def freeze_below(groups: Sequence[Sequence[nn.Parameter]], live: int) -> None:
    """Give the last `live` groups gradients, and the others none: these then keep value and moments."""
    for i, parameters in enumerate(groups):
        for p in parameters:
            p.requires_grad_(i >= len(groups) - live)
