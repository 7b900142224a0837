"""Floating-point operations of a step, counted on the real graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from modeledge.run.feed import Step

if TYPE_CHECKING:
    from modeledge.run.loop import Trainer


def step_flop(trainer: Trainer, step: Step) -> float:
    """Operations of one optimizer step's forward and backward passes (multiply-add = 2), over all ranks.

    The fused attention of CPUs is not counted by torch, so the plain form runs during the count."""
    works = [(w, m) for w in step.works for m in w.micros[:1]]
    total = 0.0
    for work, micro in works:
        one = Step(step.number, [type(work)(work.names, [micro])], step.counts, step.tokens, step.rows)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            trainer.backward(one)
        total += counter.get_total_flops() * len(work.micros)
    trainer.optimizer.zero_grad(set_to_none=True)
    return total * trainer.ranks.size
