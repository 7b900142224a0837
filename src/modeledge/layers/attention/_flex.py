"""FlexAttention: a kernel made for a rule of who sees whom, which skips blocks of keys that nobody in a block sees.

Source: Dong et al., arXiv:2412.05496. On a CPU it computes no gradients; there it runs uncompiled, and is a test's."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


def flexed(
    q: Float[Tensor, "b h t dh"],
    k: Float[Tensor, "b h t dh"],
    v: Float[Tensor, "b h t dh"],
    blocks: BlockMask,
    *,
    scale: float,
) -> Float[Tensor, "b h t dh"]:
    """softmax(scale q k^T) v over the keys that the blocks allow; zeros for a query that may see nothing."""
    q, k = q.to(v.dtype), k.to(v.dtype)  # norms and rotation leave fp32 behind under autocast
    return _kernel(q.device.type)(q, k, v, block_mask=blocks, scale=scale)  # type: ignore[no-any-return]


@cache
def _kernel(device: str) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention if device == "cpu" else torch.compile(flex_attention)
