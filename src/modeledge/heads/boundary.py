"""From the two tokens around a span to what the scores of the tokens at one place inside it are made of.

Source: SpanBERT, arXiv:1907.10529 §3.2: both states and the vector of the place go through two layers, each with a
non-linearity and a norm, and then the tied token table."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Facts, Part, PartConfig, Slot, build, part
from modeledge.heads import linear
from modeledge.layers.activations import ACTIVATIONS, Activation


class BoundaryHead(nn.Module, Part):
    class Config(PartConfig):
        """places: places inside a span, the first being 0; position: width of their vectors; norm: after each of
        the two layers; decoder: from the last layer to scores."""

        places: int = Field(20, ge=1)
        position: int = Field(200, ge=1)
        activation: Activation = "gelu"
        norm: Annotated[PartConfig, Slot("layers.norms")] = part("layer")
        decoder: Annotated[PartConfig, Slot("heads")] = part("token", transform="none")

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__()
        width: int = backbone.width  # type: ignore[assignment]
        self.places = nn.Embedding(config.places, config.position)
        nn.init.normal_(self.places.weight, std=0.02)
        self.first, self.second = linear(2 * width + config.position, width), linear(width, width)
        self.norms = nn.ModuleList(build("layers.norms", config.norm, width) for _ in range(2))
        self.activate = ACTIVATIONS[config.activation]
        self.decoder = build("heads", config.decoder, facts, backbone)

    def forward(
        self, left: Float[Tensor, "m d"], right: Float[Tensor, "m d"], place: Int[Tensor, " m"]
    ) -> Float[Tensor, "m d"]:
        """What `decoder` makes the scores of the token at each place of."""
        x = torch.cat([left, right, self.places(place)], -1)
        for layer, norm in zip((self.first, self.second), self.norms, strict=True):
            x = norm(self.activate(layer(x)))
        return x
