"""Attention with a fixed wave for each distance, added to the keys and to the values: no absolute position is needed.

score(q, k) = q . (k + R[j - i]) over the root of the head's width, read = sum of weights x (v + R[j - i]), where R
holds sines and cosines, is not trained, and is clipped at a distance. Sources: NEZHA, arXiv:1909.00204, and its
released code; learned vectors in their place: Shaw et al., arXiv:1803.02155 §3. A query meets 2 x distance + 1 vectors,
so scores and weights are gathered by distance and R is never repeated for each pair of tokens."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from modeledge.layers import Sizes
from modeledge.layers.attention import Across, Context, weigh
from modeledge.layers.attention.softmax import Softmax
from modeledge.layers.dropout import dropout


class Functional(Softmax):
    """For self-attention: between two texts there is no distance."""

    class Config(Softmax.Config):
        """distance: tokens that are further apart count as this far."""

        distance: int = Field(64, ge=1)

    waves: Float[Tensor, "p dh"]

    local = False

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        self.distance = config.distance
        self.register_buffer("waves", waves(2 * config.distance + 1, sizes.head_width), persistent=False)

    def read(self, q: Tensor, k: Tensor, v: Tensor, context: Context) -> Float[Tensor, "b h t dh"]:
        if isinstance(context, Across):
            return super().read(q, k, v, context)
        table, far = self.waves.to(q.dtype), self.far(q.shape[2], k.shape[2])
        far = far.expand(*q.shape[:2], -1, -1)  # t s -> b h t s
        by_distance = (q * self.scale) @ table.T  # b h t dh -> b h t p
        weights = weigh(q, k, context, scale=self.scale, extra=by_distance.gather(-1, far))
        weights = dropout(weights, self.dropout, self.training)
        at_distance = torch.zeros_like(by_distance).scatter_add(-1, far, weights)
        return weights @ v + at_distance @ table

    def far(self, t: int, s: int) -> Int[Tensor, "t s"]:
        """The row of the table for each query and key; the last of t queries stands at the last of s keys."""
        at = torch.arange(s, device=self.waves.device)
        return (at - at[s - t :, None]).clamp(-self.distance, self.distance) + self.distance


def waves(rows: int, width: int) -> Float[Tensor, "p dh"]:
    """Row r has sines of r in its even columns and cosines in its odd ones, at geometric wavelengths."""
    column = torch.arange(width) // 2 * 2 / width
    angle = torch.arange(rows)[:, None] * 10000.0**-column
    return torch.where(torch.arange(width) % 2 == 0, angle.sin(), angle.cos())
