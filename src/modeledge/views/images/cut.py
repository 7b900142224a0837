"""Which part of a stored picture is shown: resized, shifted, cut out at random, mirrored.

Whole batches of uint8 pictures of one size; every draw has the picture as its first dimension.
Sources: shifts by zero padding, ResNet, arXiv:1512.03385 §4.2; random areas, GoogLeNet, arXiv:1409.4842 §6.
Not here: normalisation (layers/pixels.py), colour changes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8

Images = UInt8[np.ndarray, "b H W c"]


def mirror(images: Images, rng: np.random.Generator, *, rate: float) -> Images:
    """Left and right exchanged, for each picture with probability `rate`."""
    chosen = rng.random((len(images),)) < rate
    return np.where(chosen[:, None, None, None], images[:, :, ::-1], images)


def shift(images: Images, rng: np.random.Generator, *, pad: int) -> Images:
    """Moved by up to `pad` pixels each way, every offset equally likely; what enters from outside is black."""
    b, height, width = images.shape[:3]
    framed = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    down, right = (rng.integers(0, 2 * pad + 1, (b, 1)) for _ in range(2))
    rows, columns = down + np.arange(height), right + np.arange(width)
    return framed[np.arange(b)[:, None, None], rows[:, :, None], columns[:, None, :]]


def cut_area(
    images: Images,
    rng: np.random.Generator,
    *,
    size: int,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: float = 4 / 3,
) -> Images:
    """A random rectangle of each picture, brought to size x size by bilinear sampling.

    Its share of the picture is uniform in `area`, the logarithm of its width over its height uniform within +-log
    `aspect`; a side that would be longer than the picture is cut to it. Samples are not averaged over the pixels they
    skip, so store pictures at no more than about twice `size`."""
    b, height, width = images.shape[:3]
    share = rng.uniform(*area, (b,)) * height * width
    stretch = np.exp(rng.uniform(-np.log(aspect), np.log(aspect), (b,)))
    high = np.minimum(np.sqrt(share / stretch), height) / height  # as shares of the side
    wide = np.minimum(np.sqrt(share * stretch), width) / width
    up, left = rng.random((b,)) * (1 - high), rng.random((b,)) * (1 - wide)
    middle = np.stack([2 * left + wide - 1, 2 * up + high - 1], axis=1)  # grid_sample counts from -1 to 1
    theta = np.zeros((b, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = wide, high, middle
    grid = F.affine_grid(torch.from_numpy(theta), [b, 1, size, size], align_corners=False)
    source = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    out = F.grid_sample(source, grid, padding_mode="border", align_corners=False)
    return out.round().byte().permute(0, 2, 3, 1).numpy()


def resize(images: Images, *, size: int) -> Images:
    """Brought to size x size, averaging over the pixels that are left out; the same arrays if they have that size."""
    if images.shape[1:3] == (size, size):
        return images
    source = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    out = F.interpolate(source, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return out.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def cut_centre(images: Images, *, size: int) -> Images:
    """The middle size x size pixels.

    Raises ValueError if a side is shorter than that."""
    height, width = images.shape[1:3]
    if min(height, width) < size:
        raise ValueError(f"pictures of {height} x {width} pixels have no middle of {size} x {size}; resize them first")
    up, left = (height - size) // 2, (width - size) // 2
    return images[:, up : up + size, left : left + size]
