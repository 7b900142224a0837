"""A learned vector for each place, and a term of the scores for each distance besides.

Source: MPNet, arXiv:2004.09297 §2 and its released code (T5's buckets on top of BERT's positions)."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float, Int
from torch import Tensor

from modeledge.core import PartConfig, Slot, build, part
from modeledge.layers import Sizes
from modeledge.layers.positions.learned import Learned


class Biased(Learned):
    class Config(Learned.Config):
        """bias: the scheme that gives the term of the scores."""

        bias: Annotated[PartConfig, Slot("layers.positions")] = part("bucketed")

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        self.distances = build("layers.positions", config.bias, sizes)

    def bias(self, q: Int[Tensor, "*b t"], k: Int[Tensor, "*b s"]) -> Float[Tensor, "_ h t s"] | None:
        return self.distances.bias(q, k)
