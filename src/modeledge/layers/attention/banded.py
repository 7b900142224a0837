"""Dense layers and layers that see a band of the last tokens, by turns.

Sources: GPT-3, arXiv:2005.14165 §2.1 (which gives no width); Sparse Transformer, arXiv:1904.10509 §4. The band is a
mask: it changes what is seen, not what is computed. Not here: strided patterns, kernels that skip what is masked."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor

from modeledge.layers import Sizes
from modeledge.layers.attention import Context
from modeledge.layers.attention.softmax import Softmax


class Banded(Softmax):
    """Softmax attention that sees a band in some layers and all it may in others."""

    class Config(Softmax.Config):
        """bands: how many keys a token sees, itself and those before it, in layer 0, 1, ...; after the last the list
        begins again (null: all it may see)."""

        bands: tuple[Annotated[int, Field(ge=1)] | None, ...] = Field((None, 128), min_length=1)

    local = False

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        self.band = config.bands[sizes.layer % len(config.bands)]

    def narrow(self, context: Context, t: int, s: int, device: torch.device) -> Context:
        if self.band is None or (context.causal and s <= self.band):
            return context
        mask = context.mask
        if mask is not None and mask.is_floating_point():
            mask = mask.masked_fill(~in_band(t, s, self.band, device), float("-inf"))
        else:
            if self.band not in context.made:
                near = in_band(t, s, self.band, device)
                context.made[self.band] = near[None, None] if mask is None else mask & near
            mask = context.made[self.band]
        return replace(context, mask=mask, causal=False)


def in_band(t: int, s: int, band: int, device: torch.device) -> Bool[Tensor, "t s"]:
    """Which of s keys each of the last t of them sees as a query: itself and those before it, `band` in all."""
    key = torch.arange(s, device=device)
    behind = key[s - t :, None] - key  # how far a key stands before its query
    return (behind < band) & (behind >= 0)
