"""Dense layers and layers that see a band of tokens, by turns.

Sources: GPT-3, arXiv:2005.14165 §2.1 (a band of the last tokens; it gives no width); Sparse Transformer,
arXiv:1904.10509 §4; a band around each token, in two layers of three: ModernBERT, arXiv:2412.13663 §2.1.2. In long rows
a band is read in blocks, elsewhere it is a mask. Not here: strided patterns."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from modeledge.core.blocks import blocks_pay
from modeledge.layers import Sizes
from modeledge.layers.attention import Context
from modeledge.layers.attention._near import Band
from modeledge.layers.attention.softmax import Softmax


class Banded(Softmax):
    """Softmax attention that sees a band in some layers and all it may in others."""

    class Config(Softmax.Config):
        """bands: how many keys a token sees in layer 0, 1, ..., itself and those before it; after the last the list
        begins again (null: all it may see). around: itself, and half as many as that on either side."""

        bands: tuple[Annotated[int, Field(ge=1)] | None, ...] = Field((None, 128), min_length=1)
        around: bool = False

    local = False

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        band = config.bands[sizes.layer % len(config.bands)]
        side = (band or 0) // 2
        self.reach = None if band is None else (side, side) if config.around else (band - 1, 0)

    def narrow(self, context: Context, q: Float[Tensor, "b h t dh"], k: Float[Tensor, "b h s dh"]) -> Context:
        (b, _, t, _), s, mask, made = q.shape, k.shape[2], context.mask, context.made
        if self.reach is None:
            return context
        left, right = self.reach[0], 0 if context.causal else self.reach[1]
        if s <= left + 1 and (context.causal or s <= right + 1):
            return context
        if mask is not None and mask.is_floating_point():
            mask = mask.masked_fill(~in_band(t, s, left, right, q.device), float("-inf"))
            return replace(context, mask=mask, causal=False)
        if t == s and blocks_pay(left, right, t) and not context.keep.wants(context.name):
            key = ("blocks", left, right)
            if key not in made:
                made[key] = Band(mask, left, right, b=b, t=t, device=q.device)
            return replace(context, mask=None, near=made[key], causal=False)
        key = ("band", left, right)
        if key not in made:
            near = in_band(t, s, left, right, q.device)
            made[key] = near[None, None] if mask is None else mask & near
        return replace(context, mask=made[key], causal=False)


def in_band(t: int, s: int, left: int, right: int, device: torch.device) -> Bool[Tensor, "t s"]:
    """Which of s keys each of the last t of them sees as a query: itself, `left` before it and `right` after it."""
    key = torch.arange(s, device=device)
    behind = key[s - t :, None] - key  # how far a key stands before its query
    return (behind <= left) & (behind >= -right)
