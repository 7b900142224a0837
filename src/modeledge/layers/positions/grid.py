"""A learned vector for each patch of a picture and one for [CLS]; other resolutions read the table in between.

Source: ViT, arXiv:2010.11929 §3.1-3.2. The grid part is resized bicubically, the row of [CLS] stays."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, cat, nn

from modeledge.core import PartConfig, RecipeError
from modeledge.layers import Sizes
from modeledge.layers.positions import Positions


class Grid(Positions):
    class Config(PartConfig):
        """Nothing to set: the embedding tells how many patches a picture has."""

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        if sizes.grid is None:
            raise RecipeError("backbone.positions: grid is for pictures; use it with `embedding: patches`")
        self.rows, self.columns = sizes.grid
        self.table = nn.Embedding(1 + self.rows * self.columns, sizes.embedded or sizes.width)

    def add(
        self, x: Float[Tensor, "b t e"], at: Int[Tensor, "_ t"], grid: tuple[int, int] | None = None
    ) -> Float[Tensor, "b t e"]:
        rows, columns = grid or (self.rows, self.columns)
        table = self.table.weight
        if (rows, columns) != (self.rows, self.columns):
            plane = table[1:].T.reshape(1, -1, self.rows, self.columns)
            plane = F.interpolate(plane, size=(rows, columns), mode="bicubic", align_corners=False)
            table = cat([table[:1], plane.flatten(2)[0].T])
        return x + table[-x.shape[1] :]  # without a [CLS] its row is left out
