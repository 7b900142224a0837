"""Every bench of a tier, one after the other, and one table of what came out.

    python bench/all.py [--tier cpu|gpu] [--only NAME ...] [--data FOLDER] [--history FILE]

`--data` is a folder with text/*.parquet and image/*.parquet (default: $MODELEDGE_DATA). Run it on a machine that does
nothing else. Exit code 1 if a floor is missed. The history keeps every result; one that is 5 % below the last on the
same kind of machine is pointed out."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
RATIO = re.compile(r"^RATIO (\S+?)=(-?[\d.]+)s?\b(.*?)floor=([\d.]+) goal=([\d.]+)\S*(.*)$", re.MULTILINE)
TEXT, PICTURES = "text/en_textbooks.train.parquet", "image/cifar10.valid.parquet"


class Line(NamedTuple):
    """What one RATIO line says; told: whatever it adds (an interval, a second figure)."""

    name: str
    x: float
    told: str
    floor: float
    goal: float
    passed: bool

    def row(self, before: float | None) -> str:
        """The line for the table. Where the goal is below the floor, less is better."""
        far = self.x <= self.goal if self.goal < self.floor else self.x >= self.goal
        reached = "**below**" if not self.passed else "goal" if far else "floor"
        changed = before is not None and abs(self.x - before) > 0.05 * abs(before)
        told = f"{self.x:g} {self.told}".strip() + (f" (was {before:g})" if changed else "")
        return f"| {self.name} | {told} | {self.floor:g} | {self.goal:g} | {reached} |"


def commands(tier: str, data: Path) -> dict[str, list[str]]:
    """Name -> script and arguments."""
    text, pictures = str(data / TEXT), str(data / PICTURES)
    if tier == "gpu":
        return {
            "gpu_natural": ["gpu_mlm.py", "--text", text],
            "gpu_full": ["gpu_mlm.py", "--text", text, "--lengths", "full"],
            "gpu_mini": ["gpu_mlm.py", "--text", text, "--model", "mini", "--batch", "512", "--length", "128"],
            "roofline_gpu": ["roofline.py", "--text", text, "--device", "cuda", "--size", "small"],
            "loader_gpu": ["loader_share.py", "--text", text, "--device", "cuda", "--size", "small"],
            "vision_gpu": ["vision.py", "--images", pictures, "--device", "cuda", "--peer", "tuned", "--batch", "1024"],
        }
    return {
        "import_time": ["import_time.py"],
        "cpu_natural": ["cpu_mlm.py", "--text", text],
        "cpu_full": ["cpu_mlm.py", "--text", text, "--lengths", "full", "--peer", "tuned"],
        "roofline": ["roofline.py", "--text", text],
        "step_overhead": ["step_overhead.py", "--text", text],
        "loader_share": ["loader_share.py", "--text", text],
        "data_view": ["data_view.py", "--text", text],
        "tokenizing": ["tokenizing.py", "--text", text],
        "memory": ["memory.py", "--text", text],
        "seqlen": ["seqlen.py"],
        "corpus_rss": ["corpus_rss.py", "--sizes", "10", "500"],
        "retrieval": ["retrieval.py", "--text", text],
        "vision": ["vision.py", "--images", pictures],
        "attention": ["attention.py"],
        "allocator": ["allocator.py", "--text", text],
    }


def main() -> int:
    """Run, collect, print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MODELEDGE_DATA", "data")))
    parser.add_argument("--history", type=Path, default=Path("results/bench.jsonl"))
    parser.add_argument("--limit", type=float, default=900, help="seconds a bench may take")
    given = parser.parse_args()
    if not (given.data / TEXT).is_file():
        parser.error(f"{given.data / TEXT}: no such file; name the folder with --data or MODELEDGE_DATA")
    before = {}
    if given.history.is_file():
        before = {r["name"]: r["x"] for r in map(json.loads, given.history.read_text().splitlines())}
    wanted = {n: c for n, c in commands(given.tier, given.data).items() if not given.only or n in given.only}
    rows, failed = [], []
    for name, (script, *arguments) in wanted.items():
        print(f"== {name}", file=sys.stderr, flush=True)
        try:
            done = subprocess.run(
                [sys.executable, str(HERE / script), *arguments], capture_output=True, text=True, timeout=given.limit
            )
            found, error = [line(m) for m in RATIO.finditer(done.stdout)], done.stderr.strip().splitlines()[-1:]
            code = done.returncode
        except subprocess.TimeoutExpired:
            found, error, code = [], [f"longer than {given.limit:.0f} s"], 1
        if code or not found:
            failed.append(f"{name}: {(error or ['no RATIO line'])[0]}")
        rows += found
        for one in found:
            print(one.row(before.get(one.name)), file=sys.stderr, flush=True)
    given.history.parent.mkdir(parents=True, exist_ok=True)
    with open(given.history, "a", encoding="utf-8") as out:
        out.writelines(json.dumps({"date": time.strftime("%Y-%m-%d"), **one._asdict()}) + "\n" for one in rows)
    print("| | measured | floor | goal | |\n|---|---|---|---|---|")
    print("\n".join(one.row(before.get(one.name)) for one in rows))
    print("".join(f"\nnot measured: {f}" for f in failed))
    return int(bool(failed) or not all(one.passed for one in rows))


def line(found: re.Match[str]) -> Line:
    """The parts of a RATIO line."""
    name, x, told, floor, goal, rest = found.groups()
    return Line(name, float(x), told.strip(), float(floor), float(goal), "FAIL" not in rest)


if __name__ == "__main__":
    sys.exit(main())
