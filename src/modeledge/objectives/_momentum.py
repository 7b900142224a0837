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
    """A copy of some modules whose weights are own <- m own + (1 - m) theirs after each step.

    It begins as the originals are at its first use, so that weights loaded after it was built count. `modules` are
    the copies, in the order of the originals."""

    begun: Tensor

    def __init__(self, *originals: nn.Module, momentum: float):
        super().__init__()
        self._originals = originals  # a tuple: registered where they belong, not here
        self.momentum = momentum
        self.copies = nn.ModuleList(copy.deepcopy(module) for module in originals).requires_grad_(False)
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))
        self.going = False  # `begun` once it was seen: the device is not asked again

    def train(self, mode: bool = True) -> Twin:
        """Always in evaluation mode: keys are given without dropout."""
        return super().train(False)

    @torch.no_grad()
    def begin(self) -> None:
        """Take over the originals' weights, the first time only."""
        if not self.going and not self.begun:
            self._follow(0.0)
            self.begun.fill_(True)
        self.going = True

    @torch.no_grad()
    def move(self) -> None:
        """Follow the originals by one step."""
        self.begin()
        self._follow(self.momentum)

    def _follow(self, momentum: float) -> None:
        theirs = [p.detach() for original in self._originals for p in original.parameters()]
        torch._foreach_lerp_(list(self.copies.parameters()), theirs, 1 - momentum)
        for original, twin in zip(self._originals, self.copies, strict=True):
            for given, own in zip(original.buffers(), twin.buffers(), strict=True):
                own.copy_(given)


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

    Nothing is learnt from it until the queue is full. Until then its keys stand for as many as there will be: the cost
    is about what it would be with all of them, so that no earlier figure is low for want of keys."""
    held = queue.seen.clamp(1, queue.length)  # none yet: one that is alike to all queries
    there = torch.arange(queue.length, device=held.device) < held
    stand_for = torch.where(there, (queue.length / held).log(), float("-inf"))
    with torch.autocast(queries.device.type, enabled=False):
        queries, positives = queries.float(), positives.detach().float()
        own = (queries * positives).sum(-1, keepdim=True) / temperature
        others = torch.addmm(stand_for, queries, queue.keys.T, alpha=1 / temperature)
    first = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    total = F.cross_entropy(torch.cat([own, others], dim=1), first, reduction="sum")
    return torch.where(queue.full, total, total.detach())
