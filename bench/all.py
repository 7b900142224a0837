"""Every bench of a tier, one after the other, and one table of what came out.

    python bench/all.py [--tier cpu|gpu] [--only NAME ...] [--data FOLDER] [--history FILE]
    python bench/all.py --page docs/performance.md    # the newest of the history, into the page; nothing is run

`--data` is a folder with text/*.parquet and image/*.parquet (default: $MODELEDGE_DATA). Run it on a machine that does
nothing else. Exit code 1 if a floor is missed. The history (bench/results/TIER.jsonl) keeps every result; one that is
5 % off the last on the same kind of machine is pointed out."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from _ratio import machine

from modeledge.run.claim import read_claim
from modeledge.run.outcome import markdown, read_outcome

HERE = Path(__file__).parent
TIERS = ("cpu", "gpu")
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
            "head_loss_gpu": ["head_loss.py", "--device", "cuda"],
            "vision_gpu": ["vision.py", "--images", pictures, "--device", "cuda", "--peer", "tuned", "--batch", "1024"],
        }
    return {
        "import_time": ["import_time.py"],
        "cpu_natural": ["cpu_mlm.py", "--text", text],
        "cpu_full": ["cpu_mlm.py", "--text", text, "--lengths", "full", "--peer", "tuned"],
        "roofline": ["roofline.py", "--text", text],
        "roofline_base": ["roofline.py", "--text", text, "--size", "base", "--set", "loop.batch=64"],
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
        "head_loss": ["head_loss.py"],
        "allocator": ["allocator.py", "--text", text],
    }


def main() -> int:
    """Run, collect, print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", choices=TIERS, default="cpu")
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MODELEDGE_DATA", "data")))
    parser.add_argument("--history", type=Path, default=None)
    parser.add_argument("--page", type=Path, default=None)
    parser.add_argument("--limit", type=float, default=900, help="seconds a bench may take")
    given = parser.parse_args()
    if given.page is not None:
        given.page.write_text(paged(given.page.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    history = given.history or HERE / "results" / f"{given.tier}.jsonl"
    if not (given.data / TEXT).is_file():
        parser.error(f"{given.data / TEXT}: no such file; name the folder with --data or MODELEDGE_DATA")
    here = kind_of_machine()
    before = {r["name"]: r["x"] for r in records(history) if r["machine"] == here}
    wanted = {n: c for n, c in commands(given.tier, given.data).items() if not given.only or n in given.only}
    rows, failed = [], []
    history.parent.mkdir(parents=True, exist_ok=True)
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
        with open(history, "a", encoding="utf-8") as out:  # at once: a stop loses nothing
            now = {"date": time.strftime("%Y-%m-%d"), "machine": here}
            out.writelines(json.dumps({**now, **one._asdict()}) + "\n" for one in found)
        for one in found:
            print(one.row(before.get(one.name)), file=sys.stderr, flush=True)
    print(HEAD)
    print("\n".join(one.row(before.get(one.name)) for one in rows))
    print("".join(f"\nnot measured: {f}" for f in failed))
    return int(bool(failed) or not all(one.passed for one in rows))


HEAD = "| | measured | floor | goal | |\n|---|---|---|---|---|"


def records(history: Path) -> list[dict[str, Any]]:
    """What a history holds, the oldest first."""
    return [json.loads(one) for one in history.read_text().splitlines()] if history.is_file() else []


def kind_of_machine() -> str:
    """What figures may be compared with each other."""
    known = machine()
    return f"{known['cores']} cores ({', '.join(known['cpu_flags'][-2:])}), torch {known['versions']['torch']}"


def paged(page: str) -> str:
    """The page with what was recorded between its marks: of each tier the newest figure of each name on each
    machine, and the ablations."""
    for tier in TIERS:
        newest = {(r["name"], r["machine"]): r for r in records(HERE / "results" / f"{tier}.jsonl")}
        places: dict[str, list[str]] = {}
        for r in newest.values():
            shown = Line(*(r[f] for f in Line._fields)).row(None)
            places.setdefault(f"{r['machine']}, {r['date']}", []).append(shown)
        tables = ["\n".join([f"Measured on {where}.", "", HEAD, *rows]) for where, rows in sorted(places.items())]
        made = "\n" + "\n\n".join(tables or ["Not run yet."]) + "\n"
        page = between(page, tier, made)
    page = between(page, "time_to_loss", races(records(HERE / "results" / "time_to_loss.jsonl")))
    for mark, name in {"ablation": "modern", "additions": "modern_more", "pictures": "modern_vit"}.items():
        found, claim = HERE / "results" / f"{name}.json", HERE / f"{name}.yaml"
        shown = markdown(read_claim(claim), read_outcome(found)) if found.is_file() else "Not run yet.\n"
        page = between(page, mark, "\n" + shown)
    return page


def races(found: list[dict[str, Any]]) -> str:
    """A table of what time_to_loss.py printed: one line a seed."""
    if not found:
        return "\nNot run yet.\n"
    rows = ["| | seconds | seed | loss | share of the time | times as fast |", "|---|---|---|---|---|---|"]
    for one in found:
        against = "".join(f"<br>`{key}`" for key in one.get("other", []))
        for seed, speedup in zip(one["seeds"], one["speedups"], strict=True):
            told = f"{seed['seed']} | {seed['target']:.3f} | {seed['share']} | {speedup:.1f}"
            rows.append(f"| {one['name'].removeprefix('time_to_loss_')}{against} | {one['seconds']:.0f} | {told} |")
    return "\n".join(["", *rows, ""])


def between(page: str, mark: str, made: str) -> str:
    """The page with this between `<!-- mark -->` and `<!-- /mark -->`."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    return page[: page.index(begin) + len(begin)] + made + page[page.index(end) :]


def line(found: re.Match[str]) -> Line:
    """The parts of a RATIO line."""
    name, x, told, floor, goal, rest = found.groups()
    return Line(name, float(x), told.strip(), float(floor), float(goal), "FAIL" not in rest)


if __name__ == "__main__":
    sys.exit(main())
