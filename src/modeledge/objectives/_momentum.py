"""A twin that follows a network slowly, and a queue of the keys it gave: many negatives without many rows.

Sources: MoCo, arXiv:1911.05722 §3.2; on translations, InfoXLM, arXiv:2007.07834 §3.3. What a step adds to the queue
waits until the step was applied. Not here: contrast within the batch (losses/contrastive.py)."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from modeledge.objectives._gather import gather


class Twin(nn.Module):
    """A copy of some modules whose weights are w <- m w + (1 - m) w of the originals after each step.

    It begins as the originals are at its first use, so that weights loaded after it was built count. `modules` are
    the copies, in the order of the originals."""

    begun: Tensor

    def __init__(self, *originals: nn.Module, momentum: float):
        super().__init__()
        self._originals = originals  # a tuple: registered where they belong, not here
        self.momentum = momentum
        self.copies = nn.ModuleList(copy.deepcopy(module) for module in originals).requires_grad_(False)
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def train(self, mode: bool = True) -> Twin:
        """Always in evaluation mode: keys are given without dropout."""
        return super().train(False)

    @torch.no_grad()
    def begin(self) -> None:
        """Take over the originals' weights, the first time only."""
        if not self.begun:
            self._follow(0.0)
            self.begun.fill_(True)

    @torch.no_grad()
    def move(self) -> None:
        """Follow the originals by one step."""
        self.begin()
        self._follow(self.momentum)

    def _follow(self, momentum: float) -> None:
        for original, twin in zip(self._originals, self.copies, strict=True):
            for theirs, own in zip(original.parameters(), twin.parameters(), strict=True):
                own.lerp_(theirs.detach().to(own.dtype), 1 - momentum)
            for theirs, own in zip(original.buffers(), twin.buffers(), strict=True):
                own.copy_(theirs)


class Queue(nn.Module):
    """The last `length` keys, first in first out; part of the checkpoint."""

    keys: Tensor
    seen: Tensor

    def __init__(self, length: int, width: int):
        super().__init__()
        self.length = length
        self.register_buffer("keys", torch.zeros(length, width))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.waiting: list[Tensor] = []

    @property
    def full(self) -> Tensor:
        """Whether every place holds a key: a bool scalar, on the device."""
        return self.seen >= self.length

    def note(self, keys: Float[Tensor, "n d"]) -> None:
        """Keys to add once the step was applied."""
        self.waiting.append(keys.detach().float())

    @torch.no_grad()
    def settle(self) -> None:
        """The step was applied: its keys, of every process, replace the oldest. Of more than fit, the last stay."""
        waiting, self.waiting = self.waiting, []
        for keys in waiting:
            everyone = gather(keys)[0]
            last = everyone[-self.length :]
            first = self.seen + len(everyone) - len(last)
            at = (first + torch.arange(len(last), device=last.device)) % self.length
            self.keys[at] = last
            self.seen += len(everyone)


def against_queue(
    queries: Float[Tensor, "b d"], positives: Float[Tensor, "b d"], queue: Queue, *, temperature: float
) -> Float[Tensor, ""]:
    """Sum over queries of the cross-entropy, in nats, of naming the positive among it and the queue's keys.

    Zero until the queue is full, so that no empty place is ever a negative."""
    with torch.autocast(queries.device.type, enabled=False):
        queries, positives = queries.float(), positives.detach().float()
        own = (queries * positives).sum(-1, keepdim=True)
        logits = torch.cat([own, queries @ queue.keys.T], dim=1) / temperature
    first = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    return F.cross_entropy(logits, first, reduction="sum") * queue.full
