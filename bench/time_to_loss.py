"""G3: in what share of its time one recipe reaches the held-out loss another ends at, on the same machine and data.

    python bench/time_to_loss.py modern bert --text FILES... [--size mini] [--budget 600] [--seeds 3] [--set KEY=VALUE]

The second recipe is trained for the budget (seconds). The first is trained for shares of it, its schedule fitted to
each, smallest first, until it ends at or below. Both are judged by the same masked loss: 15 % of the tokens of the same
held-out rows of 128, the same masks. `--set` goes to the first recipe (`--other` to the second), so one part can be
taken away. Finished runs are kept in --out and not repeated; run it on a quiet machine."""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import torch
from _ratio import machine

from modeledge.core import build, find
from modeledge.data.prepare import prepare
from modeledge.data.store import Store
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import Mix
from modeledge.run.budget import parse_budget
from modeledge.run.contest import digest
from modeledge.run.evaluate import evaluate
from modeledge.run.feed import Feed
from modeledge.run.job import run_job
from modeledge.run.keep import load_model
from modeledge.run.ledger import Ledger
from modeledge.run.progress import Silent
from modeledge.run.stage import Job

SHARES = (0.2, 0.25, 0.33, 0.4, 0.5, 0.67, 0.8, 1.0)
LENGTH = 128


class Course:
    """One recipe with its overrides on one store."""

    def __init__(self, name: str, store: Store, out: Path, *, size: str, sets: list[str]):
        self.name, self.store, self.out, self.size, self.sets = name, store, out, size, sets
        self.ledger = Ledger(out / "cells.jsonl")

    def loss(self, seconds: float, seed: int) -> float:
        """The held-out loss at the end of a run of so many seconds."""
        key = {"recipe": self.name, "sets": self.sets, "size": self.size, "seconds": round(seconds), "seed": seed}
        known = self.ledger.find(**key)
        if known is None:
            tree = resolve(self.name, size=self.size, sets=[*self.sets, f"loop.seed={seed}"])
            run = self.out / "runs" / digest(*key.values())
            done = run_job(Job(tree, {"text": self.store}, run, parse_budget(f"{seconds:.0f}s"), progress=Silent()))
            position = done.result.position
            found = {"loss": judged(run, self.store), "steps": position.step, "tokens": position.tokens}
            known = self.ledger.add(found | {"seconds": round(position.seconds, 1)}, **key)
            print(f"{self.name} {' '.join(self.sets)} {seconds:.0f} s, seed {seed}: {known}", flush=True)
        return float(known["loss"])


def judged(run: Path, store: Store) -> float:
    """The masked loss of a trained model on the common held-out rows, nats a token."""
    loaded = load_model(run)
    loaded.model.objectives["mlm"].config.__dict__.update(static=0)  # the same masks for all
    config = find("data.sources", "full_sentences").Config(kind="full_sentences", length=LENGTH)
    rows = build("data.sources", config, store, loaded.facts, "valid")
    objectives = {"mlm": loaded.model.objectives["mlm"]}
    feed = Feed({"text": rows}, objectives, Mix(), batch=64, micro=32, seed=0, total=1, split="valid")  # type: ignore
    found = evaluate(loaded.model, feed, batches=32, device=torch.device("cpu"), precision="fp32")
    return found["mlm"]


def main() -> None:
    """The slow side first, then shares of its time for the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs=2, metavar="RECIPE")
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--budget", type=float, default=600, help="seconds of the second recipe")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--other", action="append", default=[])
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES)
    parser.add_argument("--out", type=Path, default=Path("results/time_to_loss"))
    given = parser.parse_args()
    home = given.out / "store"
    if not home.exists():
        tokenizer = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=8192)
        prepare([str(f) for f in given.text], out=home, tokenizer=tokenizer)
    store = Store.open(home)
    fast, slow = (
        Course(name, store, given.out, size=given.size, sets=sets)
        for name, sets in zip(given.recipes, (given.sets, given.other), strict=True)
    )
    speedups, rows = [], []
    for seed in range(given.seeds):
        target = slow.loss(given.budget, seed)
        share = next((s for s in given.shares if fast.loss(s * given.budget, seed) <= target), float("inf"))
        speedups.append(1 / share)
        rows.append({"seed": seed, "target": round(target, 4), "share": share})
        print(f"seed {seed}: {given.recipes[0]} reaches {target:.4f} in {share} of the time", flush=True)
    names = "_over_".join(given.recipes)
    spread = f"[{min(speedups):.2f},{max(speedups):.2f}]"
    verdict = "PASS" if min(speedups) >= 1.8 else "FAIL"
    print(f"RATIO time_to_loss_{names}={statistics.median(speedups):.2f} {spread} floor=1.8 goal=3.0 {verdict}")
    record = {
        "name": f"time_to_loss_{names}",
        "seconds": given.budget,
        "seeds": rows,
        "sets": given.sets,
        "other": given.other,
    }
    print(json.dumps(record | {"speedups": np.round(speedups, 2).tolist()} | machine()))


if __name__ == "__main__":
    main()
