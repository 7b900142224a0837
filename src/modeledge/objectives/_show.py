"""How stored pictures are shown to a model while it trains, and plainly otherwise."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from modeledge.core import Config
from modeledge.views.images.cut import cut_area, mirror, resize, shift


class Show(Config):
    """size: the side of what the model sees, in pixels (none: as stored); cut: the whole picture, moved by up to `pad`
    pixels, or a rectangle with a share of the area in `area` and an aspect of up to `aspect`; mirror: probability."""

    size: int | None = Field(default=None, ge=1)
    cut: Literal["whole", "shift", "area"] = "whole"
    pad: int = Field(default=4, ge=1)
    area: tuple[float, float] = (0.08, 1.0)
    aspect: float = Field(default=4 / 3, ge=1)
    mirror: float = Field(default=0.0, ge=0, le=1)


def show(images: np.ndarray, rng: np.random.Generator, config: Show, *, training: bool) -> np.ndarray:
    """uint8 b H W 3 to uint8 b size size 3; drawn from `rng` in training, the resized picture otherwise."""
    size = config.size or images.shape[1]
    if not training:
        return resize(images, size=size) if config.size else images
    if config.cut == "area":
        images = cut_area(images, rng, size=size, area=config.area, aspect=config.aspect)
    elif config.size:
        images = resize(images, size=size)
    if config.cut == "shift":
        images = shift(images, rng, pad=config.pad)
    return mirror(images, rng, rate=config.mirror) if config.mirror else images
