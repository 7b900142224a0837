"""From a name to code: the folder is the registry.

`kind: mlm` in the room `objectives` is the file objectives/mlm.py, imported when asked for; the file defines exactly
one subclass of Part. Files whose name begins with an underscore are not kinds."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from modeledge.core.config import PartConfig
from modeledge.core.errors import RecipeError, unknown

_PACKAGES = ["modeledge"]


class Part:
    """Something a recipe can name. Subclasses define `Config` and take (config, ...) when built."""

    Config: type[PartConfig] = PartConfig


def add_plugin(package: str) -> None:
    """Search `package` too (its sub-packages are named like our rooms). Only the user's own `--plugin` calls this."""
    if package not in _PACKAGES:
        _PACKAGES.append(package)
        kinds.cache_clear()


def _folder(package: str, room: str) -> Path | None:
    root = importlib.import_module(package)
    for base in getattr(root, "__path__", []):
        folder = Path(base, *room.split("."))
        if folder.is_dir():
            return folder
    return None


@cache
def kinds(room: str) -> tuple[str, ...]:
    """The kinds a room offers, sorted; nothing is imported."""
    found: set[str] = set()
    for package in _PACKAGES:
        folder = _folder(package, room)
        if folder is not None:
            found |= {m.name for m in pkgutil.iter_modules([str(folder)]) if not m.ispkg and m.name[0] != "_"}
    return tuple(sorted(found))


def _module(room: str, kind: str) -> ModuleType:
    if not isinstance(kind, str) or kind not in kinds(room):
        raise RecipeError(unknown(f"{room}.kind", room.rsplit(".", 1)[-1].rstrip("s"), str(kind), kinds(room)))
    for package in _PACKAGES:
        folder = _folder(package, room)
        if folder is not None and (folder / f"{kind}.py").is_file():
            return importlib.import_module(f"{package}.{room}.{kind}")
    raise AssertionError(f"{room}.{kind} was listed but cannot be found")


def find(room: str, kind: str) -> Any:
    """The part that `kind` names in `room`.

    Raises RecipeError for a kind that does not exist, naming the nearest."""
    module = _module(room, kind)
    own = [x for x in vars(module).values() if isinstance(x, type) and x.__module__ == module.__name__]
    parts = [x for x in own if issubclass(x, Part)]
    if len(parts) != 1:
        names = ", ".join(p.__name__ for p in parts) or "none"
        raise RecipeError(
            f"{module.__file__}: a file of {room} defines exactly one part, this one: {names}\n"
            "  next: one file a part; what several of them share goes into a file whose name begins with _"
        )
    return parts[0]


def build(room: str, config: PartConfig, *args: Any, **named: Any) -> Any:
    """Make the part a validated config describes."""
    return find(room, config.kind)(config, *args, **named)
