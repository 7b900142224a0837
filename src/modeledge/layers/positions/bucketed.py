"""A learned term for each head and each range of distances, added to the scores; one table for all layers.

Source: T5, arXiv:1910.10683 §2.1: half of the buckets hold one distance each, the rest grow logarithmically up to
`distance`, beyond which all share the last one."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from modeledge.core import PartConfig
from modeledge.layers import Sizes
from modeledge.layers.positions import Positions


class Bucketed(Positions):
    class Config(PartConfig):
        """buckets: how many (half for each direction when both are seen); distance: where the last one begins;
        direction: past only, for models that never look ahead (a decoder's is past in any case)."""

        buckets: int = Field(32, ge=4)
        distance: int = Field(128, ge=8)
        direction: Literal["both", "past"] = "both"

        @model_validator(mode="after")
        def _grow(self) -> Bucketed.Config:
            exact = self.buckets // 2  # of a decoder; half as many where both directions are seen
            if self.distance <= exact:
                raise ValueError(
                    f"distance {self.distance}: the first {exact} of {self.buckets} buckets hold one distance each and "
                    f"the last begins beyond them; expected more than {exact}"
                )
            return self

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        self.both = config.direction == "both" and not sizes.past_only
        self.buckets, self.distance = config.buckets, config.distance
        self.table = nn.Embedding(config.buckets, sizes.heads)

    def bucket(self, ahead: Int[Tensor, "*a"]) -> Int[Tensor, "*a"]:
        """The bucket of each distance, positive where the key stands after the query."""
        buckets, first = self.buckets, torch.zeros_like(ahead)
        if self.both:
            buckets //= 2
            first = (ahead > 0).long() * buckets
            far = ahead.abs()
        else:
            far = (-ahead).clamp(min=0)
        exact = buckets // 2
        share = torch.log(far.float().clamp(min=1) / exact) / math.log(self.distance / exact)
        rough = (exact + (share * (buckets - exact)).long()).clamp(max=buckets - 1)
        return first + torch.where(far < exact, far, rough)

    def bias(self, q: Int[Tensor, "*b t"], k: Int[Tensor, "*b s"]) -> Float[Tensor, "_ h t s"]:
        q, k = (x.reshape(-1, x.shape[-1]) for x in (q, k))
        return self.table(self.bucket(k[:, None] - q[:, :, None])).permute(0, 3, 1, 2)  # _ t s h -> _ h t s
