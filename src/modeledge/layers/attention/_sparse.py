"""Attention that skips what a mask hides: rows cut into blocks, each block of queries with the blocks of keys it sees.

What documents in one row, a band with tokens that all see, or blocks drawn at random leave of the scores is computed,
the rest is not, and gradients go the same way; on a CPU, where FlexAttention has none. Source of the layout: BigBird,
arXiv:2007.14062 appendix D (blocks gathered into dense ones). Here blocks of queries that see about as many blocks are
computed together, so one that sees the whole row makes no other wait. Not here: a rule known to be a band (_near.py),
which needs no mask to be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from modeledge.core.blocks import SMALLEST
from modeledge.layers.attention._packed import Take

ADDED = 256
"""Blocks whose gradients are added at a time: so many stay in cache in fp32."""
SHARE = 0.45
"""Share of a row's blocks that may be read at most: gathering them has its price."""


@dataclass(frozen=True)
class Group:
    """Blocks of queries that read as many blocks of keys each.

    queries  which blocks, counted over all rows
    keys     those that each reads; of places that are too many, some block that the mask hides
    mask     who sees whom, with a row for each block of queries"""

    queries: Int[Tensor, " m"]
    keys: Int[Tensor, "m n"]
    mask: Bool[Tensor, "m _ c w"]


class Sparse:
    """b rows of t places in n blocks, by who sees whom."""

    def __init__(self, groups: list[Group], t: int, n: int):
        self.groups, self.t, self.n = groups, t, n
        self.order = torch.cat([g.queries for g in groups])
        self.home = self.order.argsort()

    def parts(self, q: Tensor, k: Tensor, v: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Queries, keys, values and mask of each group, as rows of their own; q, k, v: b h t dh."""
        asking = Take.apply(self.cut(q), self.order, self.home, None).split([len(g.queries) for g in self.groups])
        head = torch.arange(q.shape[1], device=q.device)[:, None]
        at = [(g.keys[:, None, :] * len(head) + head).flatten() for g in self.groups]
        for group, queries, keys, values in zip(self.groups, asking, self.read(k, at), self.read(v, at), strict=True):
            yield queries, keys, values, group.mask

    def read(self, x: Float[Tensor, "b h t dh"], at: list[Int[Tensor, " r"]]) -> Iterator[Float[Tensor, "m h w dh"]]:
        """The blocks of keys, or values, that each block of queries reads, a group at a time; `at`: which, counted over
        all rows and heads."""
        h, dh = x.shape[1], x.shape[3]
        cells = self.cut(x).flatten(0, 1).flatten(1)  # a row for each block and head
        for group, made in zip(self.groups, _Gather.apply(cells, torch.cat(at)).split(list(map(len, at))), strict=True):
            yield made.view(len(group.keys), h, -1, dh)

    def cut(self, x: Float[Tensor, "b h t dh"]) -> Float[Tensor, "m h c dh"]:
        """The blocks of all rows, one row after the other."""
        if spare := self.n * SMALLEST - self.t:
            x = F.pad(x, (0, 0, 0, spare))
        return x.unflatten(2, (self.n, SMALLEST)).transpose(1, 2).flatten(0, 1)

    def join(self, read: list[Float[Tensor, "m h c dh"]]) -> Float[Tensor, "b h t dh"]:
        """Rows of what the blocks of each group read."""
        x = Take.apply(torch.cat(read), self.home, self.order, None)
        return x.unflatten(0, (-1, self.n)).transpose(1, 2).flatten(2, 3)[:, :, : self.t]


def sparse(mask: Bool[Tensor, "b h t t"]) -> Sparse | None:
    """The blocks that a mask leaves, if reading those alone pays."""
    b, _, t, _ = mask.shape
    if mask.stride(2) == 0:  # all queries see the same
        return None
    mask = mask[:, :1] if mask.stride(1) == 0 else mask  # all heads see the same
    n = -(-t // SMALLEST)
    if spare := n * SMALLEST - t:
        mask = F.pad(mask, (0, spare, 0, spare))
    cells = mask.unflatten(3, (n, SMALLEST)).unflatten(2, (n, SMALLEST)).transpose(3, 4)  # b h n n c c
    there = _any(mask, n).flatten(0, 1)  # (b n) n
    counts = there.sum(1)
    sizes = _sizes(n, counts.device)
    size = sizes[torch.searchsorted(sizes, counts)]
    if int(size.sum()) > SHARE * b * n * n:
        return None
    first = there.argsort(dim=1, descending=True, stable=True)  # those that are seen, in their order, then the others
    groups = []
    for m in size.unique().tolist():
        queries = (size == m).nonzero().squeeze(1)
        row, keys = queries // n, first[queries, :m]
        seen = cells[row[:, None], :, (queries % n)[:, None], keys]  # m n h c c
        groups.append(Group(queries, keys + row[:, None] * n, seen.permute(0, 2, 3, 1, 4).flatten(3)))
    return Sparse(groups, t, n)


def _any(mask: Bool[Tensor, "b h _ _"], n: int) -> Bool[Tensor, "b n n"]:
    """Whether a block of queries sees anything of a block of keys."""
    bytes_ = mask.view(torch.uint8)  # of which torch finds the largest twenty times as fast as any of booleans
    seen = bytes_[:, 0] if mask.shape[1] == 1 else bytes_.amax(1)
    return seen.unflatten(1, (n, SMALLEST)).amax(2).unflatten(2, (n, SMALLEST)).amax(3) > 0


def _sizes(n: int, device: torch.device) -> Int[Tensor, " sizes"]:
    """How many blocks a group may read: any number up to eight, then one at most a quarter larger than the last."""
    found = {m << octave for octave in range(n.bit_length()) for m in range(1, 9)}
    return torch.tensor(sorted({m for m in found if m < n} | {n}), device=device)


class _Gather(torch.autograd.Function):
    """rows[at]; a row may be taken many times, so its gradients are added in fp32."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, at: Tensor) -> Tensor:
        ctx.save_for_backward(at)
        ctx.rows = len(rows)
        return rows.index_select(0, at)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (at,), (grad,) = ctx.saved_tensors, grads
        total = grad.new_zeros(ctx.rows, grad.shape[1], dtype=torch.float32)
        for index, part in zip(at.split(ADDED), grad.split(ADDED), strict=True):
            total.index_add_(0, index, part.float())
        return total.to(grad.dtype), None
