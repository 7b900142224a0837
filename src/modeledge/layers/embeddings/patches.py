"""A picture cut into square patches, each projected to a vector; a learned [CLS] in front.

Sources: ViT, arXiv:2010.11929 §3.1; CLIP, arXiv:2103.00020 §2.4 (no bias, a norm before the first block)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, InputError, PartConfig, RecipeError, Slot, build
from modeledge.layers import Sizes
from modeledge.layers.dropout import Dropout
from modeledge.layers.embeddings import Embedding
from modeledge.layers.pixels import Pixels, normalise
from modeledge.layers.positions import Positions


class Patches(Embedding):
    class Config(PartConfig):
        """patch: side of a patch, in pixels; size: side of a picture in training; first: what stands before the
        patches; norm: after the positions; pixels: the normalisation of the pictures."""

        patch: int = Field(16, ge=1)
        size: int = Field(224, ge=1)
        first: Literal["cls", "none"] = "cls"
        bias: bool = True
        norm: Annotated[PartConfig | None, Slot("layers.norms")] = None
        dropout: float | None = Field(None, ge=0, lt=1)
        pixels: Pixels = "half"

    def __init__(self, config: Config, facts: Facts, sizes: Sizes):
        super().__init__(config, facts, sizes)
        if config.size % config.patch:
            raise RecipeError(
                f"backbone.embedding.patch: {config.patch} does not divide the picture's side {config.size}"
            )
        self.side = config.patch
        self.pixels: Pixels = config.pixels
        self.grid = (config.size // config.patch, config.size // config.patch)
        channels = facts.image[2] if facts.image else 3
        self.patch = nn.Conv2d(channels, sizes.width, config.patch, stride=config.patch, bias=config.bias)
        self.first = nn.Parameter(torch.zeros(1, int(config.first == "cls"), sizes.width))
        self.norm = build("layers.norms", config.norm, sizes.width) if config.norm else nn.Identity()
        self.dropout = Dropout(sizes.dropout if config.dropout is None else config.dropout)

    def forward(self, batch: Batch, positions: Positions, at: Int[Tensor, "_ t"]) -> Float[Tensor, "b t d"]:
        x = self.patch(normalise(batch["image"], self.pixels).to(self.patch.weight.dtype))
        grid = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2)  # b d h w -> b p d
        x = torch.cat([self.first.expand(len(x), -1, -1).to(x.dtype), x], 1)
        return self.norm(self.dropout(positions.add(x, at, grid)))

    def places(self, batch: Batch, start: int) -> Int[Tensor, "_ t"]:
        """Raises InputError for pictures that cannot be cut into whole patches."""
        image = batch["image"]
        height, width = image.shape[1:3]
        if height % self.side or width % self.side:
            raise InputError(
                f"pictures of {height} x {width} pixels cannot be cut into patches of {self.side} x {self.side}"
            )
        count = self.first.shape[1] + (height // self.side) * (width // self.side)
        return torch.arange(count, device=image.device)[None]
