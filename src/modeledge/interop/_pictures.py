"""preprocessor_config.json: how a picture becomes numbers, the same here and there.

Ours: the shorter side brought to the model's size, the middle cut out, one of three normalisations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modeledge.core import InputError
from modeledge.layers.pixels import STATISTICS

PICTURES = "preprocessor_config.json"


def write_pictures(folder: Path, backbone: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write the file if the model reads pictures; `backbone`: with every default written out."""
    owner = _owner(backbone)
    if owner is None or not facts.get("image"):
        return
    height, width, _ = facts["image"]
    mean, deviation = STATISTICS[owner["pixels"]]
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": min(height, width)},
        "resample": 3,  # bicubic
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(deviation),
    }
    (folder / PICTURES).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def read_pictures(folder: Path, backbone: dict[str, Any]) -> None:
    """Set the normalisation of a backbone (every default written out) to the one the file names.

    Raises InputError for a normalisation that is none of ours, and for a damaged file."""
    path = folder / PICTURES
    owner = _owner(backbone)
    if owner is None:
        return
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if not told.get("do_normalize", True):
            raise InputError(f"{path}: pictures without normalisation; there is no such setting here")
        given = [float(v) for v in (*told["image_mean"], *told["image_std"])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the settings of an image processor: {error!r}") from None
    for name, (mean, deviation) in STATISTICS.items():
        if all(abs(a - b) < 1e-3 for a, b in zip(given, (*mean, *deviation), strict=True)):
            owner["pixels"] = name
            return
    raise InputError(
        f"{path}: means and deviations {given} are none of the normalisations here ({', '.join(STATISTICS)})"
    )


def _owner(backbone: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings that say how pictures are normalised: the backbone's, its embedding's, a tower's."""
    if "pixels" in backbone:
        return backbone  # type: ignore[return-value]
    inside = [backbone.get("embedding"), *(backbone.get("towers") or {}).values()]
    return next((found for part in inside if part and (found := _owner(part)) is not None), None)
