"""A claim put to the test: every arm trained with every seed at the same cost, every measure taken, the verdict.

Each finished cell is a line of cells.jsonl with what its training cost, and runs that two arms have in common are made
once, so the same call goes on where it was stopped, also where only that file is left. outcome.json and outcome.md say
what came out, whichever way."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeledge.core import InputError, RecipeError
from modeledge.data.prepare import prepare
from modeledge.data.store import META, Store
from modeledge.recipe.resolve import Tree, resolve
from modeledge.recipe.schema import Recipe, check
from modeledge.run.budget import parse_budget
from modeledge.run.checkpoint import own_tensors
from modeledge.run.claim import Arm, Claim, read_claim
from modeledge.run.compare import cost
from modeledge.run.identity import digest
from modeledge.run.job import run_job
from modeledge.run.keep import load_model
from modeledge.run.ledger import Ledger
from modeledge.run.made import make_table
from modeledge.run.measures import Trained
from modeledge.run.outcome import Outcome, identity
from modeledge.run.progress import Progress, make_progress
from modeledge.run.stage import Job
from modeledge.run.stores import told

FOLDER = "MODELEDGE_DATA"
"""The variable that names the data folder where none is given."""


@dataclass
class Files:
    """Where what a claim names lies: files of the data folder, tables and stores that were made of them."""

    claim: Claim
    data: Path
    out: Path
    progress: Progress
    stores: dict[str, Store] = field(default_factory=dict)

    def find(self, name: str) -> Path:
        """A table that is made, or a file. Raises InputError for neither."""
        if name in self.claim.tables:
            parts = self.claim.tables[name]
            return make_table(parts, self.data, self.out / "tables" / f"{name}-{digest(parts)}.jsonl")
        path = self.data / name
        if not path.exists():
            raise InputError(
                f"{path}: no such file\n  next: name the data folder with --data FOLDER or ${FOLDER} (now {self.data})"
            )
        return path

    def store(self, name: str, recipe: Recipe) -> Store:
        """The store of a data entry, made with the recipe's tokenizer if it is not there yet."""
        if name not in self.stores:
            path = self.out / "stores" / f"{name}-{self.digest(name, recipe)}"
            if not (path / META).is_file():
                self.make(name, recipe, path)
            self.stores[name] = Store.open(path)
        return self.stores[name]

    def digest(self, name: str, recipe: Recipe) -> str:
        """What a store is known by: how it and its tokenizer were made."""
        entry = self.claim.data[name]
        other = self.digest(entry.tokenizer, recipe) if entry.tokenizer else ""
        tables = [self.claim.tables[f] for f in entry.files if f in self.claim.tables]
        return digest(entry, recipe.tokenizer, tables, other)

    def make(self, name: str, recipe: Recipe, path: Path) -> None:
        """Prepare a store."""
        entry = self.claim.data[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.progress.say(f"preparing {name}: {', '.join(entry.files)}")
        bare = entry.kind == "triples" and entry.descriptions is None
        tokenizer: Any = None if bare else recipe.tokenizer
        if entry.tokenizer:
            from modeledge.tokenizers import load_tokenizer

            tokenizer = load_tokenizer(self.store(entry.tokenizer, recipe).path)
        options: dict[str, Any] = dict(entry.columns)
        if entry.descriptions:
            options["descriptions"] = self.find(entry.descriptions)
        held = [str(self.find(f)) for f in entry.valid] or None
        summary = prepare(
            [str(self.find(f)) for f in entry.files], out=path, kind=entry.kind, tokenizer=tokenizer, valid=held,
            valid_fraction=entry.held, progress=told(self.progress), **options,
        )  # fmt: skip
        self.progress.say("\n".join(summary.lines()))


class Trial:
    """One claim, its arms and what is known of them."""

    def __init__(self, path: str | Path, out: str | Path, *, data: str | Path, device: str, progress: Progress):
        self.claim, self.out, self.device, self.progress = read_claim(path), Path(out), device, progress
        self.identity, self.name = identity(path), Path(path).stem
        self.near = Path(path).parent
        self.data = Path(data)

    def begin(self, claim: Claim) -> None:
        """Resolve every arm. Raises RecipeError before anything is made for what is wrong with one."""
        self.claim = claim
        self.trees = {name: self.resolve(arm) for name, arm in claim.arms.items()}
        self.recipes = {name: check(tree) for name, tree in self.trees.items()}
        if len({repr(r.tokenizer) for r in self.recipes.values()}) > 1:
            raise RecipeError(
                f"{self.name}: the arms have different tokenizers, so their figures mean different things\n"
                "  next: give them one with `sets: [tokenizer=...]`"
            )
        for name, recipe in self.recipes.items():
            missing = [n for n in recipe.data if n not in claim.data]
            if missing:
                raise RecipeError(f"{self.name}: arms.{name} reads {missing[0]!r}, which is not in data")
        self.files = Files(claim, self.data, self.out, self.progress)
        self.ledger = Ledger(self.out / "cells.jsonl")

    def resolve(self, arm: Arm) -> Tree:
        """The recipe of an arm: the claim's overrides, then its own."""
        beside = self.near / arm.recipe
        recipe = str(beside) if arm.recipe.endswith((".yaml", ".yml")) else arm.recipe
        return resolve(recipe, size=self.claim.size, sets=[*self.claim.sets, *arm.sets])

    def run(self) -> Outcome:
        """Do what is not done yet."""
        first = next(iter(self.recipes.values()))
        for name in self.claim.data:
            self.files.store(name, first)
        outcome = Outcome(self.name, self.identity, self.claim.seeds)
        for seed in range(self.claim.seeds):
            for arm in self.claim.arms:
                cells = {measure: self.cell(arm, measure, seed) for measure in self.claim.measures}
                for measure, cell in cells.items():
                    outcome.add(measure, arm, seed, cell["value"])
                judging = round(sum(cell["seconds"] for cell in cells.values()), 1)
                outcome.spent(arm, seed, {**next(iter(cells.values()))["costs"], "judging": judging})
        outcome.write(self.out, self.claim)
        return outcome

    # -- a cell -------------------------------------------------------------------------------------------------------

    def how(self, arm: str) -> str:
        """What the training of an arm depends on."""
        parts = []
        for name in self.claim.line(arm):
            recipe, budget = self.recipes[name], self.claim.arms[name].budget or self.claim.budget
            parts.append((recipe, parse_budget(budget), [self.files.digest(n, recipe) for n in recipe.data]))
        return digest(parts)

    def folder(self, arm: str, seed: int) -> Path:
        """The run of an arm; arms that are trained alike have one in common."""
        return self.out / "runs" / f"{self.how(arm)}-{seed}"

    def train(self, arm: str, seed: int) -> dict[str, Any]:
        """Train, or go on training, an arm and those it begins with; what it cost."""
        run, known = self.folder(arm, seed), self.folder(arm, seed) / "cost.json"
        if not known.is_file():
            before, weights = self.claim.arms[arm].after, None
            if before is not None:
                self.train(before, seed)
                weights = own_tensors(load_model(self.folder(before, seed)).model)
            keys = self.trees[arm].keys
            keys = {**keys, "loop": {**(keys.get("loop") or {}), "seed": seed}}
            tree = Tree(self.trees[arm].name, keys, self.trees[arm].places, self.trees[arm].chain)
            stores = {n: self.files.store(n, self.recipes[arm]) for n in self.recipes[arm].data}
            budget = parse_budget(self.claim.arms[arm].budget or self.claim.budget)
            resume = (run / "recipe.yaml").is_file()
            job = Job(tree, stores, run, budget, weights, device=self.device, resume=resume, progress=self.progress)
            done = run_job(job)
            if done.result.exit_code:
                raise SystemExit(done.result.exit_code)
            known.write_text(json.dumps(cost(done)))
            shutil.rmtree(run / "checkpoints")  # the model stays; many runs would fill a disk
        return json.loads(known.read_text())

    def cell(self, arm: str, measure: str, seed: int) -> dict[str, Any]:
        """One arm, one measure, one seed; trained if it is not known."""
        wanted, settings = self.claim.measures[measure], self.claim.arms[arm]
        tables = list(self.claim.tables.values())
        how = digest(self.how(arm), wanted, tables, settings.tuning, settings.columns, settings.sets)
        key: dict[str, Any] = {"arm": arm, "measure": measure, "how": how}
        known = self.ledger.find(**key, seed=seed)
        if known is not None:
            return known
        costs, chosen = self.train(arm, seed), self.ledger.find(**key, seed="chosen")
        if chosen is None:
            chosen = self.ledger.add(wanted.choose(self.trained(arm, 0)), **key, seed="chosen")
        begun = time.perf_counter()
        value = wanted.take(self.trained(arm, seed), chosen)
        seconds = round(time.perf_counter() - begun, 1)
        self.progress.say(f"{self.name}: {arm}, seed {seed}: {measure} {value:.4g}  ({seconds} s)")
        return self.ledger.add({"value": value, "seconds": seconds, "costs": costs}, **key, seed=seed)

    def trained(self, arm: str, seed: int) -> Trained:
        """A trained arm as the measures take it."""
        a, tree = self.claim.arms[arm], self.trees[arm]
        stores, run = self.files.stores, self.folder(arm, seed)
        return Trained(a.recipe, a.sets, tree, run, stores, seed, a.tuning, a.columns, self.files.find, self.device)


def try_claim(
    path: str | Path,
    *,
    out: str | Path,
    data: Iterable[str] = (),
    seeds: int | None = None,
    budget: str | None = None,
    brief: bool = False,
    device: str = "auto",
    quiet: bool = False,
) -> Outcome:
    """Put the claim in `path` to the test; `data` is the folder its files are in (default: $MODELEDGE_DATA).

    seeds, budget: instead of the file's; brief: one seed and two steps of everything, to see whether it runs. Raises
    InputError before the first step for anything wrong with the file."""
    folders = list(data) or [os.environ.get(FOLDER, "data")]
    trial = Trial(path, out, data=folders[0], device=device, progress=make_progress(quiet=quiet))
    claim = trial.claim.model_copy(update={k: v for k, v in (("seeds", seeds), ("budget", budget)) if v is not None})
    trial.begin(claim.brief() if brief else claim)
    return trial.run()
