"""Several processes of one run: started by torchrun, or a single one when it did not start us."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Writes the files and talks to the user."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """This rank's rows of a global batch; every rank has the same number, if that can be."""
        return slice(self.rank * rows // self.size, (self.rank + 1) * rows // self.size)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks, on every rank."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """True on every rank if it is true on one."""
        return self.each(flag)[0]

    def each(self, *flags: bool) -> list[bool]:
        """`any` for several flags in one message."""
        if self.size == 1:
            return list(flags)
        return (self.sum(torch.tensor(flags, dtype=torch.float32)) > 0).tolist()

    def wait(self) -> None:
        """Until every rank is here."""
        if self.size > 1:
            dist.barrier()

    def tell(self, value: str) -> str:
        """The first rank's text, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return str(box[0])


ALONE = Ranks()
"""The only process of its run."""


def join() -> Ranks:
    """Take our place among torchrun's processes, alone without torchrun. Tensors of GPUs go through nccl, those of the
    host, flags among them, through gloo; each process has the GPU of its local number."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    return Ranks(dist.get_rank(), dist.get_world_size(), local)


def sum_gradients(parameters: Iterable[nn.Parameter], ranks: Ranks, *, bucket: int = 1 << 22) -> None:
    """Add up the gradients of all ranks in place, many tensors in one message of about `bucket` numbers.

    After the last micro-batch, once a step. Every rank does the same work, so the same parameters have gradients."""
    if ranks.size == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    while grads:
        group, size = [], 0
        while grads and (not group or size + grads[0].numel() <= bucket):
            group.append(grads.pop(0))
            size += group[-1].numel()
        flat = torch.cat([g.flatten() for g in group])
        dist.all_reduce(flat)
        for grad, part in zip(group, flat.split([g.numel() for g in group]), strict=True):
            grad.copy_(part.view_as(grad))
