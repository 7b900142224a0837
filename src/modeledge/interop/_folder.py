"""Hugging Face folders on disk: read without executing anything, written complete or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from modeledge.core import InputError, RunError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def read_config(folder: Path) -> dict[str, Any]:
    """config.json. Raises InputError if there is none, if it is not an object, or if it asks to run code."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder}: not a Hugging Face model folder (no config.json)")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(config).__name__}")
    if "auto_map" in config:
        raise InputError(
            f"{path}: auto_map names Python code that the model would run; no code of a model folder is ever run\n"
            "  next: use a model of a type that is known here, without code of its own"
        )
    return config


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of the folder. Raises InputError for pickled weights, a shard that is missing, a damaged file."""
    if (folder / INDEX).is_file():
        try:
            files = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError):
            raise InputError(f"{folder / INDEX}: not an index of tensor files") from None
        if any(not isinstance(f, str) or Path(f).name != f for f in files):
            raise InputError(f"{folder / INDEX}: names a file outside the folder")
    else:
        files = [WEIGHTS]
    if not (folder / files[0]).is_file():
        pickled = sorted(p.name for pattern in PICKLES for p in folder.glob(pattern))
        if pickled:
            raise InputError(
                f"{folder}: its weights are pickled ({', '.join(pickled[:3])}), and opening a pickle can run anything\n"
                "  next: on a machine you trust it on, convert it: "
                "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW) writes model.safetensors"
            )
        raise InputError(f"{folder}: no weights (no {files[0]})")
    out: dict[str, Tensor] = {}
    for name in files:
        try:
            out.update(load_file(folder / name))
        except (SafetensorError, OSError) as error:
            raise InputError(f"{folder / name}: cannot be read: {error}") from None
    return out


def write_files(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """config.json and model.safetensors."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    save_file(plain, folder / WEIGHTS, metadata={"format": "pt"})


class Aside:
    """A folder that is written beside its place and appears there at the end, whole.

    Raises InputError if the place is taken by anything but an empty folder, RunError if the disk is full."""

    def __init__(self, target: Path):
        self.target = target
        self.away = target.parent / f".tmp-{target.name}-{os.getpid()}"

    def __enter__(self) -> Path:
        if self.target.exists() and (not self.target.is_dir() or any(self.target.iterdir())):
            raise InputError(f"{self.target}: exists and is not empty\n  next: give another folder, or remove this one")
        try:
            shutil.rmtree(self.away, ignore_errors=True)
            self.away.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{self.target}: cannot be written: {error.strerror}") from None
        return self.away

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            if self.target.exists():
                self.target.rmdir()
            self.away.rename(self.target)
        shutil.rmtree(self.away, ignore_errors=True)
        if isinstance(error, OSError | SafetensorError):
            free = shutil.disk_usage(self.away.parent).free
            raise RunError(
                f"{self.target}: could not be written: {error}; nothing is left of it\n"
                f"  free here: {free / 2**20:.0f} MiB\n  next: make space, or give another --out"
            ) from None
