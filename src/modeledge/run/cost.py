"""What a step costs, counted on the real graph: operations, and the activations held for its backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from modeledge.engine.memory import Held
from modeledge.run.feed import Step

if TYPE_CHECKING:
    from modeledge.run.loop import Trainer


FUSED = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")
"""Kernels of scaled_dot_product_attention."""


def _forward(q: Any, k: Any, v: Any, *rest: Any, **named: Any) -> int:
    return int(sdpa_flop_count(q, k, v))


def _backward(grad: Any, q: Any, k: Any, v: Any, *rest: Any, **named: Any) -> int:
    return 2 * int(sdpa_flop_count(q, k, v))  # four products; that the kernel computes the scores again is its affair


def flop_counter() -> FlopCounterMode:
    """Counts the operations (multiply-add = 2) that run inside it, fused attention like the plain one: torch's own
    counter passes over the kernel of CPUs, and counts the scores of the others twice in the backward."""
    fused = {getattr(torch.ops.aten, f"_scaled_dot_product_{name}"): _forward for name in FUSED}
    fused |= {getattr(torch.ops.aten, f"_scaled_dot_product_{name}_backward"): _backward for name in FUSED}
    return FlopCounterMode(display=False, custom_mapping=fused)


class Gauge:
    """What the first step of a run costs this process: `flop`, and `held`, the most bytes of activations a token that
    one micro-batch needed. Counting changes no number of the run."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.flop, self.held = 0.0, 0.0

    @contextmanager
    def watch(self, tokens: int) -> Iterator[Held]:
        """The forward (as far as the yielded context goes) and backward of a micro-batch of so many tokens."""
        held = Held(self.model)
        with flop_counter() as counter:
            yield held
        self.flop += counter.get_total_flops()
        self.held = max(self.held, held.bytes / max(tokens, 1))


def step_flop(trainer: Trainer, step: Step) -> float:
    """Operations of one optimizer step's forward and backward passes, over all ranks."""
    works = [(w, m) for w in step.works for m in w.micros[:1]]
    total = 0.0
    for work, micro in works:
        one = Step(step.number, [type(work)(work.names, [micro])], step.counts, step.tokens, step.rows)
        with flop_counter() as counter:
            trainer.backward(one)
        total += counter.get_total_flops() * len(work.micros)
    trainer.optimizer.zero_grad(set_to_none=True)
    return total * trainer.ranks.size
