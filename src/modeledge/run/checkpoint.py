"""Checkpoints: complete or absent, hashed, without pickle.

A checkpoint is written beside its place, every file fsynced, a manifest with sizes and SHA-256 last, then renamed.
A reader ignores whatever has no matching manifest, names it, and falls back to the next older step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modeledge.core import InputError, RunError

FORMAT = 1


@dataclass
class Saved:
    """A complete checkpoint that was read and verified."""

    path: Path
    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors by name, a tied one under its first name only."""
    seen: set[tuple[int, tuple[int, ...]]] = set()
    out = {}
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and key in seen:
            continue
        seen.add(key)
        out[name] = tensor.detach().contiguous()
    return out


def set_tensors(model: nn.Module, tensors: dict[str, Tensor], *, where: str) -> None:
    """Load `own_tensors` back. Raises InputError naming every tensor that is missing, left over or of another shape."""
    wanted = own_tensors(model)
    wrong = [
        f"{n}: {tuple(tensors[n].shape)} in the file, {tuple(wanted[n].shape)} in the model"
        for n in wanted
        if n in tensors and tensors[n].shape != wanted[n].shape
    ]
    missing, extra = [n for n in wanted if n not in tensors], [n for n in tensors if n not in wanted]
    if wrong or missing or extra:
        text = [f"missing: {', '.join(missing[:5])} ({len(missing)} in all)"] if missing else []
        text += [f"left over: {', '.join(extra[:5])} ({len(extra)} in all)"] if extra else []
        text += [f"other shape: {w}" for w in wrong[:5]]
        raise InputError(f"{where}: these tensors do not fit the model\n  " + "\n  ".join(text))
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(tensors[name])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Make `target` by `write(temporary folder)`: all files and a manifest are on disk before the name appears.

    Raises RunError with free and needed space when the disk is full; what was there before stays as it was."""
    parent = target.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        away = parent / f".old-{target.name}"
        for old in [*parent.glob(f".tmp-{target.name}-*"), away]:
            shutil.rmtree(old, ignore_errors=True)
        temporary = parent / f".tmp-{target.name}-{os.getpid()}"
        temporary.mkdir()
    except OSError as error:
        raise RunError(f"{parent}: cannot be written: {error.strerror}") from None
    try:
        write(temporary)
        manifest = {"format": FORMAT, "files": {}}
        for file in sorted(temporary.iterdir()):
            _sync(file)
            manifest["files"][file.name] = {"bytes": file.stat().st_size, "sha256": _digest(file)}
        (temporary / "MANIFEST.json").write_text(json.dumps(manifest, indent=1))
        _sync(temporary / "MANIFEST.json")
        _sync(temporary)
        if target.exists():
            target.rename(away)
        temporary.rename(target)
        _sync(parent)
        shutil.rmtree(away, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        free = shutil.disk_usage(parent).free
        raise RunError(
            f"{target}: could not be saved: {error}\n"
            f"  free here: {free / 2**20:.0f} MiB; older checkpoints are intact\n"
            "  next: make space and go on with --resume"
        ) from None


def verify_folder(path: Path) -> str | None:
    """What is wrong with a folder made by `write_folder`; None if every byte is as it was written."""
    try:
        manifest = json.loads((path / "MANIFEST.json").read_text())
        files = manifest["files"]
        if manifest["format"] > FORMAT:
            return f"it has format {manifest['format']}, this version reads up to {FORMAT}"
        for name, entry in files.items():
            file = path / name
            if "/" in name or not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != entry["bytes"]:
                return f"{name} has {file.stat().st_size} bytes, {entry['bytes']} were written"
            if _digest(file) != entry["sha256"]:
                return f"{name} was changed after it was written (SHA-256 differs)"
        extra = {f.name for f in path.iterdir()} - set(files) - {"MANIFEST.json"}
        return f"{sorted(extra)[0]} is not in its manifest" if extra else None
    except FileNotFoundError:
        return "MANIFEST.json is missing"
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return "MANIFEST.json is damaged"


def steps_in(folder: Path) -> list[int]:
    """The steps that have a folder, oldest first; whether they are complete is another question."""
    names = [p.name for p in folder.glob("step-*")] if folder.is_dir() else []
    return sorted(int(n[5:]) for n in names if n[5:].isdigit())


def path_of(folder: Path, step: int) -> Path:
    """Where a step's checkpoint lies."""
    return folder / f"step-{step:08d}"


def save(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> Path:
    """Write the checkpoint of `step`. Refuses a model with a tensor that is not finite (RunError)."""
    tensors = own_tensors(model)
    bad = [n for n, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if bad:
        raise RunError(f"step {step}: not saved, {bad[0]} is not finite; the older checkpoints are intact")
    moments, numbers = _optimizer_tensors(optimizer)

    def write(temporary: Path) -> None:
        save_file({k: v.cpu() for k, v in tensors.items()}, temporary / "model.safetensors")
        save_file(moments, temporary / "optimizer.safetensors")
        text = json.dumps({"format": FORMAT, "step": step, "optimizer": numbers, **state}, indent=1)
        (temporary / "state.json").write_text(text)

    target = path_of(folder, step)
    if verify_folder(target) is not None:  # a run that goes on from here would write the same again
        write_folder(target, write)
    return target


def load(path: Path) -> Saved:
    """Read a verified checkpoint. Raises InputError naming the file that is damaged."""
    problem = verify_folder(path)
    if problem:
        raise InputError(f"{path}: this checkpoint is not complete: {problem}")
    state = json.loads((path / "state.json").read_text())
    return Saved(
        path, state["step"], load_file(path / "model.safetensors"), load_file(path / "optimizer.safetensors"), state
    )


def newest(folder: Path, *, step: int | None = None, say: Callable[[str], None] = print) -> Saved | None:
    """The newest complete checkpoint (or that of `step`); damaged ones are named and skipped. None if none is left."""
    steps = steps_in(folder)
    if step is not None:
        if step not in steps:
            raise InputError(
                f"{folder}: there is no checkpoint of step {step}\n  there are: {', '.join(map(str, steps)) or 'none'}"
            )
        return load(path_of(folder, step))
    for number in reversed(steps):
        path = path_of(folder, number)
        problem = verify_folder(path)
        if problem is None:
            return load(path)
        say(f"{path} is passed over: {problem}; trying the one before it")
    return None


def rotate(folder: Path, *, keep: int, best: int | None) -> None:
    """Delete all but the last `keep` complete checkpoints and the best one; renamed first, so never half there."""
    steps = steps_in(folder)
    for number in steps[:-keep]:
        if number == best:
            continue
        path = path_of(folder, number)
        away = folder / f".old-{path.name}"
        with contextlib.suppress(OSError):
            path.rename(away)
    for away in folder.glob(".old-*"):
        shutil.rmtree(away, ignore_errors=True)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    moments, numbers = {}, {}
    for index, entry in optimizer.state_dict()["state"].items():
        for name, value in entry.items():
            if isinstance(value, Tensor):
                moments[f"{index}.{name}"] = value.detach().cpu().contiguous()
            else:
                numbers[f"{index}.{name}"] = value
    return moments, numbers


def set_optimizer(optimizer: torch.optim.Optimizer, saved: Saved) -> None:
    """Put the saved moments back; the groups' settings come from the recipe."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*saved.optimizer.items(), *saved.state["optimizer"].items()]:
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
