"""What recurrent language models share: rows that go on from the states at the end of the row before.

Not here: what memory of segments an attention may look back at (_memory.py keeps either)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from modeledge.core import Batch, Facts, Output, RecipeError
from modeledge.objectives import Objective, Rule
from modeledge.objectives._memory import Memory
from modeledge.visibility.full import full


class Carry(Objective):
    """Keeps the states of a recurrent backbone for each row of the global batch; no gradient goes back through them."""

    class Config(Objective.Config):
        """memory: what a row goes on from, where rows follow each other (data: stream): nothing, or the forward
        states at the end of the row before."""

        memory: Literal["none", "state"] = "none"

    config: Any
    apart = False

    def __init__(self, config: Any, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        if not hasattr(backbone, "memory_width"):
            raise RecipeError(f"objective {self.losses[0]}: needs a recurrent backbone\n  next: backbone.kind: lstm")
        ways = 2 if config.memory == "both" else 1
        self.sizes = (ways * backbone.config.layers, 1, backbone.memory_width)
        self.memory: Memory | None = None
        self.held_out: Memory | None = None

    def prepare(self, rows: int) -> None:
        if self.config.memory != "none":
            self.memory, self.held_out = (Memory(rows, *self.sizes, saved=saved) for saved in (True, False))

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        batch = super().view(batch, rng)
        if self.config.memory == "none":
            return batch
        if "fresh" not in batch:
            raise RecipeError(f"objective {self.losses[0]}: memory needs rows that follow each other; use data: stream")
        if self.config.memory == "both" and "behind_ids" not in batch:
            raise RecipeError(
                f"objective {self.losses[0]}: memory: both needs rows for each direction\n"
                "  next: --set data.text.backward=beside (or the name of your source), or memory: state"
            )
        place = np.arange(batch.size)
        if "row" in batch and not np.array_equal(batch.fresh, batch.row == place):
            raise RecipeError(
                f"objective {self.losses[0]}: memory needs as many streams as the batch has rows ({batch.size})\n"
                f"  next: --set data.text.streams={batch.size} (or the name of your source), or loop.batch"
            )
        return batch.but(place=place)

    def visible(self, batch: Batch) -> Rule:
        """The backbone's directions say who sees whom."""
        return full

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        store = self.memory if self.training else self.held_out
        if store is None or "place" not in batch:
            return super().run(backbone, batch, **options)
        if not self.training:
            store.settle(shared=False)  # held-out rows follow each other without steps
        before = store.read(batch.place, batch.fresh)
        held = before.states[:, :, 0] * (before.filled > 0)[:, None, None]  # b layers m
        out = super().run(backbone, batch, memory=held.unbind(1), **options)
        ends = torch.stack(out.memory[: self.sizes[0]], 1).detach()[:, :, None]  # type: ignore[index]
        store.note(batch.place, before, ends, torch.ones_like(batch.place))
        return out

    def after_step(self, step: int) -> None:
        if self.memory is not None:
            self.memory.settle()
