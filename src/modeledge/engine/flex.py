"""Whether FlexAttention pays on this GPU, for rows like these: found out by trying it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.engine.device import compute_in, seconds

LEAST = 256
"""Tokens in a row from which on it is tried: it skips blocks of 128 keys."""
ROWS = 8
WORTH = 1.1
"""Times faster that it must be: each new size of rows is compiled anew."""


def flex_gain(device: torch.device, precision: str, *, heads: int, head_width: int, length: int) -> tuple[float, str]:
    """How many times faster than a mask it reads rows of two documents, both ways, and why it is 0 if it failed.

    0 and no reason where it is not tried: on a CPU it computes no gradients, and in short rows it skips nothing."""
    if device.type != "cuda" or length < LEAST:
        return 0.0, ""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    shape = (ROWS, heads, length, head_width)
    with compute_in(precision, device):
        dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32
    q, k, v = (torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
    doc = torch.arange(length, device=device) * 2 // length

    def same(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return doc[i] == doc[j]

    mask, kernel = (doc[:, None] == doc).expand(ROWS, 1, length, length), torch.compile(flex_attention)

    asked = torch.randn_like(q)

    def masked() -> tuple[Tensor, ...]:
        return torch.autograd.grad(F.scaled_dot_product_attention(q, k, v, attn_mask=mask), (q, k, v), asked)

    def flexed() -> tuple[Tensor, ...]:
        blocks = create_block_mask(same, ROWS, None, length, length, device=str(device))
        return torch.autograd.grad(kernel(q, k, v, block_mask=blocks), (q, k, v), asked)

    try:
        far = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(flexed(), masked(), strict=True))
        if not far < 0.05:
            return 0.0, f"its gradients are {far:.0%} off"
        return seconds(masked, device) / seconds(flexed, device), ""
    except Exception as error:  # a compiler and its tools: whatever they raise, masks do the same
        return 0.0, f"{type(error).__name__}: {error}".splitlines()[0]


def make_flexible(model: nn.Module) -> None:
    """Let every stack that can use it."""
    for part in model.modules():
        if hasattr(part, "flexible"):
            part.flexible = True  # type: ignore[assignment]
