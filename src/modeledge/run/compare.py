"""Several recipes at the same cost, side by side: pre-trained with each seed, then asked the same questions.

The unit of the budget says what is equal: floating-point operations counted on each recipe's own graph, tokens, steps,
or seconds. Held-out losses are a measure only where they mean the same: the same objectives, set alike but for their
heads and weights, on rows cut alike from the same tokens. Each finished cell is a line of cells.jsonl; comparison.md,
comparison.json and (with matplotlib) comparison.svg say what came out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from modeledge.analysis.intervals import Interval, difference, interval
from modeledge.core import RecipeError, find
from modeledge.data.readers import Wanted
from modeledge.data.sources._table_forms import wanted_columns
from modeledge.data.store import Store
from modeledge.data.tables import Table, open_data
from modeledge.recipe.resolve import Tree, resolve
from modeledge.recipe.schema import Recipe, check
from modeledge.run.budget import Budget, parse_budget
from modeledge.run.finetune import finetune
from modeledge.run.identity import data_identity, digest
from modeledge.run.job import run_job, stores_for
from modeledge.run.keep import load_model
from modeledge.run.ledger import Ledger
from modeledge.run.plots import draw_comparison, drawable
from modeledge.run.progress import Progress, Silent, make_progress
from modeledge.run.question import PLAIN, Question, Tuning
from modeledge.run.stage import Done, Job
from modeledge.run.stores import open_or_make
from modeledge.run.tasks import known_columns, task_kind

BUDGET = "1e14flop"
"""What a recipe may spend where nothing is said: some minutes of a small model on a laptop."""


@dataclass
class Comparison:
    """What came out: a row a recipe with a cell a seed: its cost, its held-out losses, its value on each measure."""

    out: Path
    budget: str
    measures: list[str]
    rows: list[dict[str, Any]]
    exit_code: int = 0

    def values(self, row: dict[str, Any], measure: str) -> dict[int, float]:
        """A measure of one recipe by seed."""
        return {cell["seed"]: cell["values"][measure] for cell in row["cells"]}

    def gain(self, row: dict[str, Any], measure: str) -> Interval:
        """How much more than the first recipe: the paired differences over seeds."""
        return difference(self.values(self.rows[0], measure), self.values(row, measure))

    def mean(self, row: dict[str, Any], measure: str) -> Interval:
        """Mean over seeds."""
        return interval(list(self.values(row, measure).values()))

    def as_dict(self) -> dict[str, Any]:
        """For --json and comparison.json."""
        told = []
        for row in self.rows:
            means = {m: self.mean(row, m).as_dict() for m in self.measures}
            gains = {m: self.gain(row, m).as_dict() for m in self.measures}
            told.append({**row, "mean": means, "gain over the first": gains})
        return {"budget": self.budget, "measures": self.measures, "recipes": told}

    def __str__(self) -> str:
        head = ["recipe", "steps", "tokens", "operations", "seconds", "held-out loss", *self.measures]
        lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        for row in self.rows:
            cost = {k: np.mean([cell[k] for cell in row["cells"]]) for k in ("steps", "tokens", "flop", "seconds")}
            cells = [row["recipe"], f"{cost['steps']:.0f}", f"{cost['tokens']:.3g}", f"{cost['flop']:.3g}"]
            losses = {k: np.mean([cell["losses"][k] for cell in row["cells"]]) for k in row["cells"][0]["losses"]}
            cells += [f"{cost['seconds']:.0f}", ", ".join(f"{k} {v:.3f}" for k, v in losses.items())]
            cells += [self.shown(row, m) for m in self.measures]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def shown(self, row: dict[str, Any], measure: str) -> str:
        """A mean with its interval, marked where it surely differs from the first recipe's."""
        text = str(self.mean(row, measure))
        gain = self.gain(row, measure)
        return text if row is self.rows[0] or not gain.sure else f"**{text}** ({gain.mean:+.3f})"

    def write(self) -> None:
        """comparison.md, comparison.json and comparison.svg."""
        (self.out / "comparison.md").write_text(f"{self}\n", encoding="utf-8")
        (self.out / "comparison.json").write_text(json.dumps(self.as_dict(), indent=1, default=str), encoding="utf-8")
        if drawable() and self.measures:
            (self.out / "comparison.svg").write_text(self.picture(), encoding="utf-8")

    def picture(self) -> str:
        """The first measure (the mean over questions, where there are several): a dot a seed, means with intervals."""
        measure = self.measures[0]
        rows = []
        for row in self.rows:
            mean, half, _ = self.mean(row, measure)
            half = 0.0 if np.isnan(half) else half
            scores = list(self.values(row, measure).values())
            rows.append(
                {"name": row["recipe"], "scores": scores, "mean": mean, "low": mean - half, "high": mean + half}
            )
        return draw_comparison(measure, rows, None)


def compare(
    recipes: Sequence[str],
    *,
    data: Iterable[str],
    out: str | Path,
    budget: str = BUDGET,
    seeds: int = 3,
    size: str | None = None,
    sets: Iterable[str] = (),
    questions: Sequence[Question] = (),
    tuning: Tuning = PLAIN,
    device: str = "auto",
    quiet: bool = False,
) -> Comparison:
    """Pre-train each recipe with each seed for the same `budget` on `data`, then fine-tune it on each question.

    Every finished cell is kept in `out`: the same call goes on where it was stopped. Raises InputError before the first
    step for a recipe or data that is wrong."""
    if len(set(recipes)) < 2:
        raise RecipeError("compare: give at least two different recipes")
    names = [q.name or q.task for q in questions]
    if len(set(names)) < len(names):
        raise RecipeError(f"compare: two questions are both called {max(names, key=names.count)!r}; name them apart")
    home, progress, paths = Path(out), make_progress(quiet=quiet), list(data)
    amount, trees = parse_budget(budget), [resolve(name, size=size, sets=list(sets)) for name in recipes]
    arms = [Arm(tree, check(tree), home, amount, device, progress) for tree in trees]
    places = [stores_for(arm.recipe, paths) for arm in arms]
    asked = digest([examined(q) for q in questions], tuning)
    ledger = Ledger(home / "cells.jsonl")
    rows: list[dict[str, Any]] = []
    for arm, found in zip(arms, places, strict=True):
        arm.open(found)
        cells = []
        for seed in range(seeds):
            cell = arm.cell(ledger, seed, questions, tuning, asked=asked)
            if isinstance(cell, int):
                return Comparison(home, budget, [], rows, cell)
            cells.append(cell)
        rows.append({"recipe": arm.tree.name, "cells": cells})
    comparison = Comparison(home, budget, measures(arms, names, rows), rows)
    comparison.write()
    return comparison


class Arm:
    """One recipe of a comparison."""

    def __init__(self, tree: Tree, recipe: Recipe, home: Path, amount: Budget, device: str, progress: Progress):
        self.tree, self.recipe, self.home, self.amount = tree, recipe, home, amount
        self.device, self.progress = device, progress
        self.stores: dict[str, Store] = {}

    def open(self, paths: dict[str, Path]) -> None:
        """Open or make the stores; recipes with the same tokenizer share them."""
        for name, path in paths.items():
            cache = self.home / "stores"
            self.stores[name] = open_or_make(path, self.recipe, name, cache=cache, progress=self.progress)

    def cell(
        self, ledger: Ledger, seed: int, questions: Sequence[Question], tuning: Tuning, *, asked: str
    ) -> dict[str, Any] | int:
        """One seed: pre-train, judge, fine-tune on every question; `asked`: what the questions and their data go by.
        The exit code if it was stopped by a signal."""
        how = digest(self.recipe, self.amount, data_identity(self.stores))
        run = self.home / "runs" / f"{self.tree.name}-{how}-{seed}"
        key: dict[str, Any] = {"recipe": self.tree.name, "how": digest(how, asked), "seed": seed}
        known = ledger.find(**key)
        if known is None:
            if not (run / "cost.json").is_file():
                code = self.pretrain(run, seed)
                if code:
                    return code
            loaded, values = load_model(run), {}
            for question in questions:
                tuned = finetune(loaded, question, tuning, seeds=[seed], device=self.device, progress=Silent())
                if tuned.exit_code:
                    return tuned.exit_code
                values[question.name or question.task] = tuned.values()[seed]
            known = ledger.add({**json.loads((run / "cost.json").read_text()), "values": values}, **key)
            self.progress.say(f"{self.tree.name}, seed {seed}: {values or known['losses']}")
        return {"seed": seed, **{k: v for k, v in known.items() if k != "key"}}

    def pretrain(self, run: Path, seed: int) -> int:
        """Train, or go on training, one seed; what it cost goes to cost.json. The exit code."""
        keys = {**self.tree.keys, "loop": {**(self.tree.keys.get("loop") or {}), "seed": seed}}
        tree = Tree(self.tree.name, keys, self.tree.places, self.tree.chain)
        resume = (run / "recipe.yaml").is_file()
        job = Job(tree, self.stores, run, self.amount, device=self.device, resume=resume, progress=self.progress)
        done = run_job(job)
        if not done.result.exit_code:
            (run / "cost.json").write_text(json.dumps(cost(done)))
        return done.result.exit_code


def cost(done: Done) -> dict[str, Any]:
    """What a run took, and its held-out losses (nats per target). Operations are 0 where they were not counted."""
    position, losses = done.result.position, {loss for _, o in done.model.each() for loss in o.losses}
    return {
        "steps": position.overall,
        "tokens": position.tokens,
        "seconds": round(position.seconds, 1),
        "flop": sum(float(stage["steps"] * stage.get("flop_per_step", 0.0)) for stage in done.decided),
        "losses": {k: v for k, v in done.result.valid.items() if k in losses},
    }


def examined(question: Question) -> str:
    """What a question goes by: what is asked, and the content of its rows, wherever they lie.

    Raises InputError for what would stop its fine-tuning: a task, a column, a row that is wrong, nothing held out."""
    kind, columns = task_kind(question.task), known_columns(question.task, question.columns)
    given = question.data
    data = given if isinstance(given, Table) else open_data(given, valid=question.valid)
    for part in (data, data.part("valid")):
        if isinstance(part, Table) and kind.form:
            target = "none" if question.task == "embed" else kind.target
            keys = {"kind": "table", "form": kind.form, "target": target, **columns}
            wanted, optional = wanted_columns(find("data.sources", "table").Config.model_validate(keys))
            part.read(Wanted(wanted, optional=optional))
    return digest(replace(question, data="", valid=None), data.meta, data.part("valid").meta)


def meaning(recipe: Recipe) -> str:
    """What the held-out losses of a recipe mean: two may be compared where this is the same."""
    asked = [o.model_dump(exclude={"head", "weight"}) for o in recipe.objectives]
    return digest(asked, recipe.data, recipe.tokenizer)


def measures(arms: Sequence[Arm], questions: Sequence[str], rows: list[dict[str, Any]]) -> list[str]:
    """What the recipes are judged by, the most telling first; puts the values into the cells.

    The mean over questions if there are several, each question, and the losses where they can be compared."""
    found = list(questions)
    same = len({meaning(arm.recipe) for arm in arms}) == 1
    losses = [k for k in rows[0]["cells"][0]["losses"] if same]
    for row in rows:
        for cell in row["cells"]:
            values = cell["values"]
            if len(questions) > 1:
                values["mean of questions"] = float(np.mean([values[q] for q in questions]))
            values.update({f"held-out {k}": cell["losses"][k] for k in losses})
    return (["mean of questions"] if len(questions) > 1 else []) + found + [f"held-out {k}" for k in losses]
