"""Attention over long rows in bf16 on a CPU with matrix units (AMX): torch's fused kernel forwards; backwards the
weights are computed again by plain products, a block of queries at a time.

The fused kernel's backward leaves the matrix units idle. With 2,048 to 4,096 keys and a mask attention is 1.1 times as
fast in blocks (`bench/attention.py`), without one the backward pass alone 1.2 to 1.6 times; with 1,024 keys nothing is
gained, and on CPUs without such units the products themselves are slower."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 512
"""Queries at a time; their scores, as many heads at once as there are threads, are what has to stay near."""


@cache
def matrix_units() -> bool:
    """Whether this CPU multiplies tiles of bf16 by itself."""
    return torch.cpu._is_amx_tile_supported()


def blocked(
    q: Float[Tensor, "b h t dh"],
    k: Float[Tensor, "b h s dh"],
    v: Float[Tensor, "b h s dv"],
    mask: Tensor | None,
    *,
    causal: bool,
    scale: float,
) -> Float[Tensor, "b h t dv"]:
    """softmax(scale q k^T + mask) v; `mask` bool or float, without a gradient, each size its own or 1."""
    return _Blocked.apply(q, k, v, mask, causal, scale)  # type: ignore[return-value]


class _Blocked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
        ctx.save_for_backward(q, k, v, mask)
        ctx.causal, ctx.scale = causal, scale
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for row in range(len(q)):
            here = None if mask is None else mask[row if len(mask) > 1 else 0]
            made = _row(q[row] * ctx.scale, k[row], v[row], grads[0][row], here, causal=ctx.causal)
            dq[row] = made[0] * ctx.scale
            dk[row], dv[row] = (x.transpose(-1, -2) for x in made[1:])
        return dq, dk, dv, None, None, None


def _row(
    q: Float[Tensor, "h t dh"],
    k: Float[Tensor, "h s dh"],
    v: Float[Tensor, "h s dv"],
    grad: Float[Tensor, "h t dv"],
    mask: Tensor | None,
    *,
    causal: bool,
) -> tuple[Float[Tensor, "h t dh"], Float[Tensor, "h dh s"], Float[Tensor, "h dv s"]]:
    """The gradients of one row's scaled queries, keys and values; sums over blocks are in fp32."""
    (h, t, _), many = q.shape, torch.get_num_threads()
    q, k, grad = (x.contiguous() for x in (q, k, grad))  # heads one after the other: what products like
    turned_k, turned_v = (x.transpose(-1, -2).contiguous() for x in (k, v))
    dq = torch.empty_like(q)
    dk, dv = (torch.zeros(x.shape, dtype=torch.float32) for x in (turned_k, turned_v))
    for start in range(0, t, BLOCK):
        asks = slice(start, min(start + BLOCK, t))
        reads = slice(min(asks.stop, k.shape[1]) if causal else k.shape[1])
        bias, blind = _rules(mask, asks, reads, causal=causal, like=q)
        for first in range(0, h, many):
            heads = slice(first, first + many)
            asked, d_out = q[heads, asks], grad[heads, asks]
            scores = asked @ turned_k[heads, :, reads]
            if bias is not None:
                scores += bias[heads] if len(bias) > 1 else bias
            if blind is not None:
                d_out = d_out.masked_fill(blind[heads] if len(blind) > 1 else blind, 0.0)
            weights = scores.softmax(-1)
            d_weights = d_out @ turned_v[heads, :, reads]
            d_scores = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype)
            dq[heads, asks] = d_scores @ k[heads, reads]
            # not its transpose times the queries: a large left operand that lies the wrong way costs twice as much
            dk[heads, :, reads] += asked.transpose(-1, -2) @ d_scores
            dv[heads, :, reads] += d_out.transpose(-1, -2) @ weights
    return dq, dk, dv


def _rules(
    mask: Tensor | None, asks: slice, reads: slice, *, causal: bool, like: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """The part of a mask for a block as a term of its scores, and which of its queries see nothing."""
    least = torch.finfo(like.dtype).min / 2  # not -inf: a row that sees nothing stays finite
    if causal:
        after = torch.arange(reads.stop) > torch.arange(asks.start, asks.stop)[:, None]
        return like.new_zeros(1, *after.shape).masked_fill_(after, least), None
    if mask is None:
        return None, None
    mask = mask[:, :1] if mask.stride(1) == 0 else mask  # one for all queries
    part = mask[:, asks if mask.shape[1] > 1 else slice(None), reads if mask.shape[2] > 1 else slice(None)]
    if part.is_floating_point():
        bias = part.to(like.dtype).clamp_min(least)
        blind = part.amax(-1, keepdim=True) == float("-inf")
    else:
        seen = part.view(torch.uint8)  # bytes, because torch converts booleans one by one
        bias = seen.to(like.dtype).sub_(1).mul_(-least)
        blind = seen.amax(-1, keepdim=True) == 0
    return bias, blind if blind.any() else None
