"""One sequence of states from those of several layers, side by side: features for a task.

Source: CoVe, arXiv:1708.00107 §4: the words' vectors beside the states of a translation model's encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Output, Part, PartConfig, RecipeError


class Concat(nn.Module, Part):
    """concat(out, batch): b t `width`, of a pass that was asked to keep `reads`. Nothing to learn."""

    class Config(PartConfig):
        """layers: which blocks, numbered from 0, after the embedding (default: the last)."""

        layers: list[int] | None = Field(None, min_length=1)

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__()
        last = backbone.config.layers - 1
        layers: Sequence[int] = [last] if config.layers is None else config.layers
        if not all(0 <= i <= last for i in layers):
            raise RecipeError(f"mix.layers: {layers}: this backbone has the layers 0..{last}")
        self.reads = ("embedding", *(f"blocks.{i}" for i in layers))
        table = backbone.config.input or backbone.width
        self.width = table + len(layers) * backbone.width

    def forward(self, out: Output, batch: Batch) -> Float[Tensor, "b t w"]:
        """The layers of a pass, one beside the other."""
        return torch.cat([out.kept[name] for name in self.reads], -1)

    def penalty(self) -> float:
        """Nothing is pulled anywhere."""
        return 0.0
