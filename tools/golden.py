"""Write the resolved form of every recipe into tests/golden/, so that a change in a parent shows in all its heirs."""

from __future__ import annotations

import json
from pathlib import Path

from modeledge.recipe.resolve import resolve, shipped

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"


def text_of(name: str) -> str:
    """The golden file's content for a recipe: its keys in a fixed order."""
    return json.dumps(resolve(name).keys, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Rewrite all golden files; files of recipes that are gone are removed."""
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.glob("*.json"):
        if old.stem not in shipped():
            old.unlink()
    for name in shipped():
        (GOLDEN / f"{name}.json").write_text(text_of(name))


if __name__ == "__main__":
    main()
