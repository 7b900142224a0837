"""From states to a score for each of some entities: a layer, and the product with their vectors.

Source: Tsinghua ERNIE, arXiv:1905.07129 §3.4 eq. 6; the layer's non-linearity and norm are the released code's."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.core import Facts, Part, PartConfig, RecipeError, build
from modeledge.heads import linear
from modeledge.losses.products import products


class Candidates(nn.Module, Part):
    class Config(PartConfig):
        """Nothing to set."""

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__()
        table = getattr(backbone, "entity", None)
        if table is None:
            raise RecipeError("head.kind: candidates: this backbone has no vectors of entities; two_channel has")
        self._table = (table,)  # not registered: the table stays the backbone's
        self.dense = linear(backbone.width, table.embedding_dim)  # type: ignore[arg-type]
        self.norm = build("layers.norms", backbone.config.norm, table.embedding_dim)  # type: ignore[union-attr]

    def forward(self, states: Float[Tensor, "m d"], candidates: Int[Tensor, " c"]) -> Float[Tensor, "m c"]:
        """Unnormalised log-probabilities of the candidates; those below 0 are none and get the least."""
        scores = products(self.norm(F.gelu(self.dense(states))), self._table[0](candidates.clamp_min(0)))
        return scores.masked_fill(candidates < 0, -1e9)
