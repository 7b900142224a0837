"""The language model of ELMo: the next word from what came before it, and the word before from what follows.

Source: ELMo, arXiv:1802.05365 §3.1. The two directions share the input layer and the softmax and nothing else. What
stands at the edges (<s> and </s>) is up to the source: it is read, and predicted from the other side, like any word.
Rows of parallel streams may go on from the forward states of the row before, as in the released code; the backward
states begin anew in each row (the released code has a second, reversed stream for them)."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.core import IGNORE, Batch, Facts, Output, PartConfig, RecipeError, Slot, Sum, build, part
from modeledge.losses.cross_entropy import chunked_cross_entropy
from modeledge.objectives import Objective, Rule, entropy
from modeledge.objectives._memory import Memory
from modeledge.visibility.full import full


class BidirectionalLM(Objective):
    """Losses: one a direction. Count: neighbours that are both valid and of one document."""

    class Config(Objective.Config):
        """memory: what a row goes on from, where rows follow each other (data: stream): nothing, or the forward
        states at the end of the row before; head: the softmax both directions share."""

        memory: Literal["none", "state"] = "none"
        head: Annotated[PartConfig, Slot("heads")] = part("sampled_softmax")

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        name = config.name or config.kind
        self.losses = (f"{name}.forward", f"{name}.backward")
        super().__init__(config, facts, backbone)
        if getattr(backbone, "one_way", None) is None or backbone.width != 2 * backbone.one_way.width:
            raise RecipeError(
                f"objective {name}: needs a backbone that reads in both directions\n"
                "  next: backbone.kind: lstm, backbone.directions: both"
            )
        self.head = build("heads", config.head, facts, backbone.one_way)
        self.sizes = (backbone.config.layers, 1, backbone.memory_width)
        self.memory: Memory | None = None
        self.held_out: Memory | None = None

    def prepare(self, rows: int) -> None:
        if self.config.memory == "state":
            self.memory, self.held_out = (Memory(rows, *self.sizes, saved=saved) for saved in (True, False))

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        if self.config.memory == "none":
            return batch
        if "fresh" not in batch:
            raise RecipeError(f"objective {self.losses[0]}: memory needs rows that follow each other; use data: stream")
        place = np.arange(batch.size)
        if "row" in batch and not np.array_equal(batch.fresh, batch.row == place):
            raise RecipeError(
                f"objective {self.losses[0]}: memory needs as many streams as the batch has rows ({batch.size})\n"
                f"  next: --set data.text.streams={batch.size} (or the name of your source), or loop.batch"
            )
        return batch.but(place=place)

    def counts(self, batch: Batch) -> dict[str, float]:
        pairs = np.ones((len(batch.ids), batch.ids.shape[1] - 1), bool)
        for field in ("valid", "doc"):
            if field in batch:
                now, then = batch[field][:, :-1], batch[field][:, 1:]
                pairs &= (now & then) if field == "valid" else (now == then)
        return dict.fromkeys(self.losses, float(pairs.sum()))

    def visible(self, batch: Batch) -> Rule:
        """The backbone's directions say who sees whom."""
        return full

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        store = self.memory if self.training else self.held_out
        if store is None:
            return super().run(backbone, batch, **options)
        if not self.training:
            store.settle()  # held-out rows follow each other without steps
        before = store.read(batch.place, batch.fresh)
        held = before.states[:, :, 0] * (before.filled > 0)[:, None, None]  # b layers m
        out = super().run(backbone, batch, memory=held.unbind(1), **options)
        ends = torch.stack(out.memory, 1).detach()[:, :, None]  # type: ignore[arg-type]
        store.note(batch.place, before, ends, torch.ones_like(batch.place))
        return out

    def after_step(self, step: int) -> None:
        if self.memory is not None:
            self.memory.settle()

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        ids = batch.ids
        pairs = torch.ones_like(ids[:, 1:], dtype=torch.bool)
        if "valid" in batch:
            pairs = batch.valid[:, :-1] & batch.valid[:, 1:]
        if "doc" in batch:
            pairs = pairs & (batch.doc[:, :-1] == batch.doc[:, 1:])
        before, after = out.states.chunk(2, -1)
        asked = ((before[:, :-1], ids[:, 1:]), (after[:, 1:], ids[:, :-1]))
        return {
            name: self.cross_entropy(states.flatten(0, 1), labels.where(pairs, IGNORE).flatten())
            for name, (states, labels) in zip(self.losses, asked, strict=True)
        }

    def cross_entropy(self, states: Float[Tensor, "m d"], labels: Int[Tensor, " m"]) -> Sum:
        """The head's own loss if it has one (against a sample), else the full one."""
        own = getattr(self.head, "loss", None)
        return own(states, labels) if own else chunked_cross_entropy(states, labels, self.head)

    def baselines(self, facts: Facts) -> dict[str, float]:
        known = entropy(facts.counts)
        return {"uniform": math.log(facts.vocab)} | ({"unigram": known} if known else {})
