"""What a model remembers of the rows before: one store for the rows of a global batch.

What a step adds waits until the step was applied, so that a step that is refused or repeated leaves no trace."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

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
    def settle(self) -> None:
        """The step was applied: what it noted is remembered, on every process."""
        waiting, self.waiting = self.waiting, []
        for place, new in waiting:
            (everywhere, _), (states, _), (filled, _) = (gather(x) for x in (place, new.states, new.filled))
            self.states[everywhere], self.filled[everywhere] = states, filled
