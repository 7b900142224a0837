"""Write docs/claims.md from the experiments and what came out of them."""

from __future__ import annotations

from pathlib import Path

from modeledge.run.outcome import page

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
PAGE = ROOT / "docs" / "claims.md"


if __name__ == "__main__":
    PAGE.write_text(page(EXPERIMENTS), encoding="utf-8")
