"""Cross-entropy of the scores that a matrix gives, without ever holding all of them: the head of large vocabularies.

The gradient is computed in the forward pass, while a chunk's probabilities are at hand, so nothing of the size
m x v is kept and nothing is computed twice. On a CPU the softmax goes over few rows at a time, which stay in cache
(bench/head_loss.py). Source of the gradient in the forward pass: Liger Kernel, arXiv:2410.10989 (fused linear
cross-entropy). Not here: samples of the vocabulary (sampled_softmax.py)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from modeledge.core import IGNORE, Sum
from modeledge.losses.cross_entropy import cross_entropy

HELD = 1 << 28
"""Bytes of probabilities that a chunk may have: each chunk is one product for the gradient of the matrix."""
CACHED = 1 << 23
"""Bytes of scores that a CPU handles at a time."""


def linear_cross_entropy(
    states: Float[Tensor, "m d"],
    matrix: Float[Tensor, "v d"],
    bias: Float[Tensor, " v"] | None,
    labels: Int[Tensor, " m"],
    *,
    smoothing: float = 0.0,
) -> Sum:
    """`cross_entropy(F.linear(states, matrix, bias), labels)`, in nats, up to rounding; labels of IGNORE do not
    count. The gradient cannot be differentiated.

    Products are in the type of the autocast around it, sums and the softmax in fp32."""
    kind = states.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
    if dtype == torch.float16:  # gradients not yet scaled could vanish in it
        return cross_entropy(F.linear(states, matrix, bias), labels, smoothing=smoothing)
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (states, matrix, bias))
    total = _LinearCrossEntropy.apply(states, matrix, bias, labels, smoothing, dtype, wanted)
    return Sum(total, (labels != IGNORE).sum())


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        matrix: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        smoothing: float,
        dtype: torch.dtype,
        wanted: bool,
    ) -> Tensor:
        x, w, b = states.to(dtype), matrix.to(dtype), None if bias is None else bias.to(dtype)
        total = torch.zeros((), device=x.device)
        dx, dw, db = (torch.empty_like(x) if wanted else None), None, None
        rows = max(16, HELD // (len(w) * dtype.itemsize))
        with torch.autocast(x.device.type, enabled=False):
            for begin in range(0, max(1, len(x)), rows):
                here = slice(begin, begin + rows)
                loss, slope = _chunk(x[here], w, b, labels[here], smoothing, wanted=wanted)
                total += loss
                if dx is not None and slope is not None:
                    counted = (labels[here] != IGNORE).to(dtype)[:, None]
                    torch.mul(slope @ w, counted, out=dx[here])
                    dw = _add(dw, slope.t() @ (x[here] * counted))
                    db = None if b is None else _add(db, (slope.t() @ counted).squeeze(1))
        ctx.save_for_backward(dx, dw, db)
        ctx.types = states.dtype, matrix.dtype, None if bias is None else bias.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        made = (
            None if made is None or not needed else (made * grad).to(dtype)
            for made, dtype, needed in zip(ctx.saved_tensors, ctx.types, ctx.needs_input_grad[:3], strict=True)
        )
        return (*made, None, None, None, None)


def _add(total: Tensor | None, part: Tensor) -> Tensor:
    return part.float() if total is None else total.add_(part)


def _chunk(
    x: Tensor, w: Tensor, b: Tensor | None, labels: Tensor, smoothing: float, *, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """The summed loss of some rows; and, if wanted, softmax - target, which is its slope where the label counts."""
    v = len(w)
    slope = x.new_empty(len(x), v) if wanted else None
    total = torch.zeros((), device=x.device)
    rows = max(16, CACHED // (4 * v)) if x.device.type == "cpu" else len(x)
    for begin in range(0, len(x), rows):
        here = slice(begin, begin + rows)
        at = labels[here].clamp(min=0)[:, None]
        logp = F.linear(x[here], w, b).log_softmax(-1, dtype=torch.float32)
        each = logp.gather(1, at)
        if smoothing:
            each = (1 - smoothing) * each + smoothing * logp.mean(1, keepdim=True)
        total -= (each.squeeze(1) * (labels[here] != IGNORE)).sum()
        if slope is not None:
            p = logp.exp_()
            if smoothing:
                p -= smoothing / v
            p.scatter_add_(1, at, torch.full_like(at, smoothing - 1, dtype=p.dtype))
            slope[here] = p
    return total, slope
