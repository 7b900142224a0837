"""Rows cut into blocks of queries, each with the keys around it: which places stand where. Not here: who sees whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool, Int
    from torch import Tensor

SMALLEST = 64
"""Queries a block at least: smaller matrix products waste more than they leave out."""


class Places(NamedTuple):
    """The places of a row's n blocks: of c queries each, of the w keys from `left` before the first to `right` after
    the last, and which pairs of them are places of the row; what is not points at its nearest end."""

    q: Int[Tensor, "n c 1"]
    k: Int[Tensor, "n 1 w"]
    there: Bool[Tensor, "n c w"]


def block_size(left: int, right: int) -> int:
    """Queries a block, where each sees up to `left` keys before it and `right` after it."""
    return max(left, right, SMALLEST)


def blocks_pay(left: float, right: float, t: int) -> bool:
    """Whether blocks of a row of t places read half of its keys at most."""
    return 2 * (left + max(left, right, SMALLEST) + right) <= t


def block_places(t: int, left: int, right: int, device: torch.device | str) -> Places:
    """The places of the blocks of a row of t."""
    import torch

    size = block_size(left, right)
    first = torch.arange(0, t, size, device=device)[:, None, None]
    q = first + torch.arange(size, device=device)[:, None]
    k = first + torch.arange(-left, size + right, device=device)
    return Places(q.clamp_max(t - 1), k.clamp(0, t - 1), (q < t) & (k >= 0) & (k < t))
