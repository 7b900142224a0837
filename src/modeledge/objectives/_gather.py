"""The same tensor from every process, with the gradient flowing back to the process it came from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        import torch.distributed as dist

        ctx.own = slice(dist.get_rank() * len(rows), (dist.get_rank() + 1) * len(rows))
        everyone = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(everyone, rows.contiguous())
        return torch.cat(everyone)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        import torch.distributed as dist

        total = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)  # what every process's loss asks of these rows
        return total[ctx.own]


def gather(rows: Tensor) -> tuple[Tensor, int]:
    """(the rows of all processes in the order of ranks, the place of our own first row); unchanged when alone.

    Every process must call it with equally many rows. The gradient of the *sum* of all processes' losses reaches each
    row, so adding the parameters' gradients up over processes gives that of one process with all rows."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return rows, 0
    gathered: Any = _AllGather.apply(rows)
    return gathered, dist.get_rank() * len(rows)
