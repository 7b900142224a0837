"""Encoded pictures to pixels of one size. A picture's size is looked up in its header before anything is decoded."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from modeledge.core import DataError
from modeledge.data.readers import Record

MOST_PIXELS = 64_000_000
MOST_BYTES = 64 << 20


class Unusable(Exception):
    """Why a picture cannot be used; becomes a rejected record."""


def pillow() -> Any:
    """PIL.Image. Raises DataError where pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError("reading pictures needs pillow\n  next: pip install 'modeledge[vision]'") from None
    return Image


def image_bytes(record: Record, column: str) -> bytes:
    """The encoded picture of a record: bytes, an object with `bytes`, or the path of a file beside the table.

    Raises Unusable if there is none, or if the path leads out of the table's folder."""
    value = record.value[column]
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    folder = Path(record.file).parent
    path = folder / str(value)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise Unusable(f"the picture {str(value)!r} is not below {folder}")
    if not path.is_file():
        raise Unusable(f"there is no picture {path}")
    if path.stat().st_size > MOST_BYTES:
        raise Unusable(f"the picture {path} has more than {MOST_BYTES >> 20} MiB")
    return path.read_bytes()


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height, from the header alone. Raises Unusable if it is no picture, or too large a one."""
    image_module = pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with image_module.open(io.BytesIO(data)) as image:
                width, height = image.size
    except image_module.DecompressionBombError:
        raise Unusable(f"more than {MOST_PIXELS // 1_000_000} million pixels") from None
    except Exception as error:  # pillow's readers raise many kinds
        raise Unusable(f"not a picture: {_short(error)}") from None
    if width * height > MOST_PIXELS:
        raise Unusable(f"{width} x {height} pixels are more than {MOST_PIXELS // 1_000_000} million")
    return width, height


def to_pixels(data: bytes, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: the shorter side brought to `size`, the middle cut out, transparency on white.

    Raises Unusable for a picture that is truncated, corrupt or too large."""
    image_module = pillow()
    picture_size(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from PIL import ImageOps

            with image_module.open(io.BytesIO(data)) as opened:
                opened.draft("RGB", (size, size))
                image = ImageOps.exif_transpose(opened)
                if image.mode in ("RGBA", "LA", "P", "PA"):
                    image = image.convert("RGBA")
                    ground = image_module.new("RGBA", image.size, (255, 255, 255, 255))
                    image = image_module.alpha_composite(ground, image)
                image = image.convert("RGB")
                if image.size != (size, size):
                    image = ImageOps.fit(image, (size, size), method=image_module.Resampling.BICUBIC)
                return np.asarray(image, np.uint8)
    except Exception as error:  # pillow's decoders raise many kinds
        raise Unusable(f"damaged picture: {_short(error)}") from None


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
