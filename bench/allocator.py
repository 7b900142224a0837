"""What it brings to let the C library keep freed memory (`engine/memory.py`): BERT-mini steps with and without.

    python bench/allocator.py --text FILE.parquet

The setting holds for a process, so each window is a process of its own; they take turns."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from _ratio import interleave, ratio

ONE_WINDOW = """
import sys
sys.path.insert(0, sys.argv[4])
from _ours import Ours, Store
from modeledge.engine.memory import keep_freed_memory
if sys.argv[3] == "keep":
    keep_freed_memory()
ours = Ours(Store.open(sys.argv[1]), "bert", size="mini", sets=["loop.batch=32", "loop.precision=bf16"])
ours(5)
print(max(ours(int(sys.argv[2])) for _ in range(3)))
"""


def main() -> None:
    """Prepare the text once, then take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--windows", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        cli = "from modeledge.cli import main; main()"
        prepare = ["prepare", str(given.text), "--vocab", "8192", "--out", str(store), "--quiet"]
        subprocess.run([sys.executable, "-c", cli, *prepare], check=True)

        def side(how: str) -> float:
            here = str(Path(__file__).parent)
            command = [sys.executable, "-c", ONE_WINDOW, str(store), str(given.steps), how, here]
            return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

        keep, default = interleave(lambda: side("keep"), lambda: side("default"), windows=given.windows, discard=1)
    ratio("allocator_keep_over_default", keep, default, floor=1.0, goal=1.05, unit="real tokens/s")


if __name__ == "__main__":
    main()
