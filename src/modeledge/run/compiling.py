"""Which way to compile a GPU's steps: found out by trying each on a model that is then thrown away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

TRIED = 1800.0
"""Seconds of training on a GPU from which on it is tried: that takes a few minutes, of which one is repaid."""
STEPS = 16
"""Steps of a trial: the first few of them compile."""
WORTH = 1.05
"""Times faster that a way must be than those before it."""
SAME = 0.1
"""How far off its losses may be, as a share: dropout draws other numbers when it is compiled."""
WAYS = {True: "compiled", "graphs": "compiled into graphs"}


class Pace(NamedTuple):
    """The usual seconds of a step, its tokens and operations (0: not counted), what finding out took, and the sum of
    the losses of each step that was taken for it."""

    seconds: float
    tokens: float
    flop: float
    spent: float
    losses: tuple[float, ...] = ()


def fastest(pace: Callable[[object], Pace], say: Callable[[str], None]) -> dict[str, Any]:
    """What is decided about compiling, by the pace of each way: `compile`, how many times faster its steps are than
    plain ones, and the seconds that finding out took.

    A way that fails is not taken, nor one whose losses are not those of plain steps."""
    plain = pace(False)
    best, found, spent = plain.seconds, False, plain.spent
    for way, name in WAYS.items():
        try:
            tried = pace(way)
        except Exception as error:  # a compiler and its tools: whatever they raise, plain steps do the same
            say(f"not {name}: that failed with {type(error).__name__}: {error}".splitlines()[0])
            continue
        spent += tried.spent
        off = max(abs(b / a - 1) for a, b in zip(plain.losses, tried.losses, strict=False))
        if not off <= SAME:
            say(f"not {name}: its losses are {off:.0%} off")
        elif tried.seconds * WORTH < best:
            best, found = tried.seconds, way
    return {"compile": found, "compile_gain": round(plain.seconds / best, 2), "trial_seconds": round(spent, 1)}
