"""G12: seconds until the command line is there, against importing transformers; and what a hundred more recipes cost.

    python bench/import_time.py

Fresh interpreters, in turns."""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _ratio import interleave, ratio

import modeledge


def seconds(code: str, *, path: Path | None = None) -> float:
    """How long a fresh interpreter takes for this code."""
    import os

    env = dict(os.environ) | ({"PYTHONPATH": str(path)} if path else {})
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True)
    return time.perf_counter() - begun


LIST = "from modeledge.recipe.resolve import shipped; list(shipped())"


def main() -> None:
    """Both imports in turns, then the listing of recipes with and without a hundred more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=7)
    given = parser.parse_args()
    nothing = min(seconds("pass") for _ in range(5))
    cost = {
        code: (lambda c=code: 1 / (seconds(c) - nothing)) for code in ("import modeledge.cli", "import transformers")
    }
    ours, peer = interleave(*cost.values(), windows=given.windows)
    loads = subprocess.run(
        [sys.executable, "-c", "import modeledge.cli, sys; print('torch' in sys.modules)"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    source = Path(modeledge.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "modeledge"
        shutil.copytree(source, copy)
        before = statistics.median(seconds(LIST, path=Path(folder)) for _ in range(9))
        for i in range(100):
            (copy / "recipes" / "text" / f"more{i}.yaml").write_text("extends: bert\nsource: none\nloop: {batch: 8}\n")
        after = statistics.median(seconds(LIST, path=Path(folder)) for _ in range(9))
    ratio(
        "import_over_transformers", ours, peer, floor=5, goal=15, unit="imports/s",
        milliseconds=round(1e3 / statistics.median(ours), 1), loads_torch=loads,
        hundred_recipes_ms=round(1e3 * (after - before), 1),
    )  # fmt: skip


if __name__ == "__main__":
    main()
