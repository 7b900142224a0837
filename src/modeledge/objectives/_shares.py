"""Shares of a whole, as settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field


def whole(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Raises ValueError for shares that are more than everything."""
    if sum(shares) > 1 + 1e-9:
        raise ValueError(f"shares of one whole, which together are {sum(shares):g}; expected at most 1")
    return shares


def some(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Raises ValueError if there are none, or nothing in them."""
    if not sum(shares) > 0:
        raise ValueError("expected at least one probability above 0")
    return shares


Unit = Annotated[float, Field(ge=0, le=1)]
Shares = Annotated[tuple[Unit, Unit], AfterValidator(whole)]
"""Two parts of a whole; the rest is a third."""
