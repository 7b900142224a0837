"""Libraries that only some measurements need: imported when asked for, one line when they are not there."""

from __future__ import annotations

import importlib
from types import ModuleType

from modeledge.core import InputError


def need(module: str, *, feature: str, extra: str = "eval", package: str | None = None) -> ModuleType:
    """The module, or InputError naming what wants it, the extra it belongs to and the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        name = package or module.split(".")[0]
        raise InputError(
            f"{feature} needs {name}, which is not installed (extra `{extra}`)\n"
            f"  next: pip install 'modeledge[{extra}]'"
        ) from None
