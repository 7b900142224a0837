"""From stored pixels to what a network reads: scaled, centred, channels first.

The three normalisations in use, each per channel in RGB order, on values in 0..1. Stored pictures stay uint8 until they
are on the device: a quarter of the bytes of floats on the way."""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

Pixels = Literal["half", "imagenet", "clip"]

STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # ViT, BiT: the range -1..1
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),  # of its own training pairs
}
"""(mean, standard deviation) a channel."""


def normalise(image: Shaped[Tensor, "b H W c"], pixels: Pixels) -> Float[Tensor, "b c H W"]:
    """(value / 255 - mean) / deviation, channels first. Floats are taken to be normalised already and only turned.

    Raises ValueError for pictures that are not RGB (a normalisation names three channels)."""
    turned = image.permute(0, 3, 1, 2)
    if image.is_floating_point():
        return turned
    if turned.shape[1] != 3:
        raise ValueError(f"pictures have {turned.shape[1]} channels; the normalisation {pixels!r} is for 3 (RGB)")
    mean, deviation = (_make if torch.compiler.is_compiling() else _statistics)(pixels, image.device)
    return (turned.float() / 255 - mean) / deviation


def _make(pixels: Pixels, device: torch.device) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation) c 1 1."""
    mean, deviation = (torch.tensor(v, device=device)[:, None, None] for v in STATISTICS[pixels])
    return mean, deviation


_statistics = cache(_make)  # brought to the device once; the compiler sees constants
