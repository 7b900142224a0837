"""The objective inside another one that hides tokens for it.

It gives the view, the targets and the scores, and is told nothing else: what keeps a memory, looks things up or moves
with the steps cannot stand there."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from modeledge.core import PartConfig, Slot


def hides(config: PartConfig) -> PartConfig:
    """Raises ValueError for an objective that cannot stand inside another one."""
    if config.kind != "mlm":
        raise ValueError(f"{config.kind!r} cannot hide tokens for another objective; expected 'mlm'")
    return config


Hiding = Annotated[PartConfig, Slot("objectives"), AfterValidator(hides)]
