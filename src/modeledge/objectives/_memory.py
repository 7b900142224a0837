"""What a model remembers of the rows before: one store for the rows of a global batch.

What a step adds waits until the step was applied, so that a step that is refused or repeated leaves no trace."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Sum
from modeledge.objectives import Objective, Rule
from modeledge.objectives._gather import gather


class Remembered(NamedTuple):
    """states: what each layer read, b n m d; filled: how many of the m places at the end count, b."""

    states: Float[Tensor, "b n m d"]
    filled: Int[Tensor, " b"]


class Memory(nn.Module):
    """Up to `length` places for each of `rows` rows; part of the checkpoint where `saved`."""

    def __init__(self, rows: int, layers: int, length: int, width: int, *, saved: bool):
        super().__init__()
        self.length = length
        self.register_buffer("states", torch.zeros(rows, layers, length, width), persistent=saved)
        self.register_buffer("filled", torch.zeros(rows, dtype=torch.long), persistent=saved)
        self.waiting: list[tuple[Tensor, Remembered]] = []

    def read(self, place: Int[Tensor, " b"], fresh: Tensor | None) -> Remembered:
        """What the rows at these places of the global batch remember; nothing for those that are `fresh`."""
        filled = self.filled[place]
        return Remembered(self.states[place], filled if fresh is None else filled * ~fresh)

    def note(
        self, place: Int[Tensor, " b"], before: Remembered, new: Float[Tensor, "b n k d"], since: Int[Tensor, " b"]
    ) -> None:
        """Keep `new` behind what was there, the last `length` places of both; `since`: how many of the new places count
        if not all do (then nothing before them does)."""
        k = new.shape[2]
        filled = torch.where(since < k, since, before.filled + k).clamp(max=self.length)
        states = torch.cat([before.states, new.detach().to(before.states.dtype)], dim=2)[:, :, -self.length :]
        self.waiting.append((place, Remembered(states, filled)))

    @torch.no_grad()
    def settle(self, *, shared: bool = True) -> None:
        """The step was applied: what it noted is remembered, on every process. Not `shared`: every process has noted
        the same rows, and none asks another (held-out rows)."""
        waiting, self.waiting = self.waiting, []
        for place, new in waiting:
            noted = (place, new.states, new.filled)
            everywhere, states, filled = (gather(x)[0] if shared else x for x in noted)
            self.states[everywhere], self.filled[everywhere] = states, filled


class Remembering(Objective):
    """An objective whose rows follow each other: what each layer read of a row is there to be seen by the next one.

    Its Config has `memory`, how many tokens a row remembers; its source gives `fresh` and its view `place`."""

    def __init__(self, config: Any, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        self.memory: Memory | None = None
        self.held_out: Memory | None = None
        self.sizes = (backbone.config.layers, config.memory, backbone.width)

    def prepare(self, rows: int) -> None:
        if self.config.memory:
            layers, length, width = self.sizes
            self.memory = Memory(rows, layers, length, width, saved=True)
            self.held_out = Memory(rows, layers, length, width, saved=False)

    def kept(self, batch: Batch) -> int:
        """How many tokens of a row, from its first, later rows may remember. Default: all."""
        return batch.ids.shape[1]

    def _store(self) -> Memory | None:
        return self.memory if self.training else self.held_out

    def _before(self, batch: Batch) -> Remembered | None:
        store = self._store()
        return None if store is None else store.read(batch.place, batch.fresh)

    def forward(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        store = self._store()
        if store is not None and not self.training:
            store.settle(shared=False)  # held-out rows follow each other without steps
        out = self.run(backbone, batch)
        if store is not None:
            self._remember(store, out.memory, batch)  # type: ignore[arg-type]
        return self.loss(out, batch)

    def _remember(self, store: Memory, read: list[Tensor], batch: Batch) -> None:
        kept = self.kept(batch)
        new = torch.stack([x[:, :kept].detach() for x in read], dim=1)
        since = torch.full_like(batch.place, kept)
        if "doc" in batch:  # only what belongs to the document that goes on
            doc, ended = batch.doc[:, :kept], batch.special[:, kept - 1]
            since = (doc == doc[:, -1:]).sum(dim=1) * ~ended
        store.note(batch.place, store.read(batch.place, batch.fresh), new, since)

    def after_step(self, step: int) -> None:
        if self.memory is not None:
            self.memory.settle()


def remembers(batch: Batch, before: Remembered, past: int, *, at: Tensor | None = None) -> Rule:
    """Of `past` remembered places those that count, in packed rows only for the document that goes on; all of the row.

    at: places of the queries, if they are not 0, 1, ..."""
    first = past - before.filled

    def allowed(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        counts = k >= first[b]
        if "doc" in batch:
            counts = counts & (batch.doc[b, q if at is None else at[b, q]] == 0)
        return (k >= past) | counts

    return allowed
