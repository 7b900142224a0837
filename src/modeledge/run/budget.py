"""How long to train: steps, tokens, floating-point operations or time, all turned into steps before training begins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from modeledge.core import RecipeError

Unit = Literal["steps", "tokens", "flop", "seconds"]
_SCALE = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12, "P": 1e15}
_TIME = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_FORM = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(.*)$")


@dataclass(frozen=True)
class Budget:
    """An amount and its unit."""

    amount: float
    unit: Unit

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"

    def share(self, part: float) -> Budget:
        """This part of it."""
        return Budget(self.amount * part, self.unit)

    def steps(self, *, tokens: float, flop: float, seconds: float) -> int:
        """The steps it buys, given what one step takes of each; at least one."""
        each = {"steps": 1.0, "tokens": tokens, "flop": flop, "seconds": seconds}[self.unit]
        return max(1, int(self.amount / max(each, 1e-12)))


def parse_budget(text: str) -> Budget:
    """10min, 90s, 2h, 2e15flop, 50Mtok or 2000steps.

    Raises RecipeError for anything else."""
    hit = _FORM.match(text.strip())
    if hit:
        amount, unit = float(hit[1]), hit[2].strip()
        if amount > 0:
            if unit in _TIME:
                return Budget(amount * _TIME[unit], "seconds")
            if unit in ("step", "steps"):
                return Budget(amount, "steps")
            for word, name in (("tokens", "tokens"), ("tok", "tokens"), ("flops", "flop"), ("flop", "flop")):
                if unit.endswith(word) and unit.removesuffix(word) in _SCALE:
                    return Budget(amount * _SCALE[unit.removesuffix(word)], name)  # type: ignore[arg-type]
    raise RecipeError(f"--budget {text}: not an amount of work\n  known: 10min, 90s, 2h, 2e15flop, 50Mtok, 2000steps")
