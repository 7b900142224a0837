"""Rows cut into blocks of queries, each with the keys near it: what a band costs is then its width, not the row's.

The blocks are rows of their own to attention, which computes them as it computes any rows. Source of the layout:
Longformer, arXiv:2004.05150 §3.2 (chunks that overlap). Who sees whom in a block is told by a rule of the whole model
(visibility.Near) or, for a layer with a band of its own, by `Band`."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from modeledge.core.blocks import block_places, block_size


class Near(Protocol):
    """Blocks of `size` queries that see up to `left` keys before and `right` after each; rows: m h c w, which."""

    left: int
    right: int
    size: int

    @cached_property
    def rows(self) -> Tensor: ...


class Band:
    """What b rows of t places may see, of that at most `left` keys before a query and `right` after it."""

    def __init__(
        self, mask: Bool[Tensor, "#b #h t t"] | None, left: int, right: int, *, b: int, t: int, device: torch.device
    ):
        self.left, self.right, self.size = left, right, block_size(left, right)
        q, k, there = block_places(t, left, right, device)
        seen = there & (k >= q - left) & (k <= q + right)  # n c w
        seen = seen[None, None] if mask is None else seen & mask[:, :, q, k]
        self.table = seen.expand(b, *seen.shape[1:])  # b h n c w

    @cached_property
    def rows(self) -> Bool[Tensor, "m h c w"]:
        """A row for each block, as attention takes it."""
        return self.table.transpose(1, 2).flatten(0, 1)


def blocks(x: Float[Tensor, "b h t dh"], near: Near, *, keys: bool) -> Float[Tensor, "m h _ dh"]:
    """b x n blocks of queries, or of the keys (or values) each of them may see."""
    if spare := -x.shape[2] % near.size:
        x = F.pad(x, (0, 0, 0, spare))
    x = x.unflatten(2, (-1, near.size)).transpose(1, 2)  # b n h c dh
    if keys:
        x = _Widen.apply(x, near.left, near.right)  # type: ignore[assignment]
    return x.flatten(0, 1)


def rows(x: Float[Tensor, "m h c dh"], b: int, t: int) -> Float[Tensor, "b h t dh"]:
    """What the blocks of queries read, back in b rows of t."""
    return x.transpose(1, 2).reshape(b, -1, *x.shape[1::2])[:, :t].transpose(1, 2)


class _Widen(torch.autograd.Function):
    """Each block of c places with the last `left` of the block before it and the first `right` of the one after:
    b n h c dh -> b n h left+c+right dh, zeros beyond the ends of the row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, left: int, right: int) -> Tensor:
        ctx.left, ctx.right = left, right
        b, n, h, c, dh = x.shape
        wide = x.new_empty(b, n, h, left + c + right, dh)
        wide[..., left : left + c, :] = x
        wide[:, 1:, :, :left] = x[:, :-1, :, c - left :]
        wide[:, :-1, :, left + c :] = x[:, 1:, :, :right]
        wide[:, 0, :, :left] = wide[:, -1, :, left + c :] = 0
        return wide

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (wide,), left, right = grads, ctx.left, ctx.right
        c = wide.shape[3] - left - right
        grad = wide[..., left : left + c, :].clone()
        grad[:, :-1, :, c - left :] += wide[:, 1:, :, :left]
        grad[:, 1:, :, :right] += wide[:, :-1, :, left + c :]
        return grad, None, None
