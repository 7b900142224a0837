"""From a recipe and data to a trained model: the work every training verb shares."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeledge.core import DataError, Facts, InputError, RecipeError, build, unknown
from modeledge.data.facts import facts_of
from modeledge.data.sources import Source
from modeledge.data.store import Store
from modeledge.engine.device import choose_device, choose_precision
from modeledge.engine.memory import keep_freed_memory
from modeledge.engine.processes import Ranks, join
from modeledge.engine.recompute import recompute_blocks
from modeledge.recipe.compare import brief, diff
from modeledge.recipe.resolve import Tree, merge
from modeledge.recipe.schema import Recipe, check
from modeledge.run import checkpoint
from modeledge.run.budget import Budget
from modeledge.run.cost import step_flop
from modeledge.run.feed import Feed
from modeledge.run.folder import RunFolder
from modeledge.run.keep import save_model
from modeledge.run.loop import Result, Trainer
from modeledge.run.model import Model, make_model, parameter_count
from modeledge.run.progress import Progress, Silent
from modeledge.run.signals import Stop
from modeledge.run.track import make_tracker
from modeledge.tokenizers import load_tokenizer

ROWS_AT_ONCE = 8192
"""Tokens in one forward pass when the recipe does not say: activations of small models then stay near the cache."""


@dataclass
class Job:
    """What is to be trained, on what, where to."""

    tree: Tree
    stores: dict[str, Store]
    out: Path | None
    budget: Budget | None = None
    init: dict[str, torch.Tensor] | None = None
    facts: Facts | None = None
    device: str = "auto"
    resume: bool = False
    step: int | None = None
    progress: Progress = field(default_factory=Silent)
    track: str | None = None
    history: dict[str, Any] = field(default_factory=dict)


@dataclass
class Done:
    """A finished (or stopped) job."""

    result: Result
    model: Model
    recipe: Recipe
    facts: Facts
    folder: RunFolder | None
    decided: dict[str, Any]
    baselines: dict[str, dict[str, float]]


def stores_for(recipe: Recipe, data: Iterable[str]) -> dict[str, Path]:
    """`--data` arguments (a path, or name=path) matched with the names in the recipe's data; a single path serves all.

    Raises RecipeError for a name the recipe does not have and for one that got no path."""
    names, data = list(recipe.data), list(data)
    if len(data) == 1 and "=" not in data[0]:
        return dict.fromkeys(names, Path(data[0]))
    out: dict[str, Path] = {}
    for text in data:
        name, equals, path = text.partition("=")
        if not equals:
            free = [n for n in names if n not in out]
            if not free:
                raise RecipeError(f"--data {text}: this recipe reads {len(names)} source(s): {', '.join(names)}")
            name, path = free[0], text
        if name not in names:
            raise RecipeError(unknown(f"--data {text}", "source", name, names))
        out[name] = Path(path)
    missing = [n for n in names if n not in out]
    if missing:
        raise RecipeError(f"--data: nothing was given for {', '.join(missing)}\n  next: --data {missing[0]}=PATH")
    return out


def stage_trees(tree: Tree) -> list[Tree]:
    """One tree a stage: each overlay laid over the one before it; the tree itself if there are none."""
    overlays = tree.keys.get("stages") or []
    keys = {k: v for k, v in tree.keys.items() if k != "stages"}
    trees = []
    for overlay in overlays:
        keys = merge(keys, overlay, places=dict(tree.places), new={})
        trees.append(Tree(tree.name, keys, tree.places, tree.chain))
    return trees or [Tree(tree.name, keys, tree.places, tree.chain)]


def run_job(job: Job) -> Done:
    """Train every stage of a job. Raises InputError before the first step for anything wrong with the input."""
    ranks = join()
    device = choose_device(job.device, local=ranks.local)
    if device.type == "cpu":
        keep_freed_memory()
    trees = stage_trees(job.tree)
    recipes = [check(t) for t in trees]
    folder = RunFolder(job.out) if job.out is not None else None
    if folder is not None and ranks.first:
        tracker = make_tracker(job.track, folder.path, say=job.progress.say) if job.track else None
        folder.begin(resume=job.resume)
        folder.hears = [tracker.log] if tracker else []
    ranks.wait()
    try:
        with Stop() as stop:
            return _run_stages(job, trees, recipes, folder, device=device, ranks=ranks, stop=stop)
    finally:
        if folder is not None and ranks.first:
            folder.end()


def _run_stages(
    job: Job,
    trees: list[Tree],
    recipes: list[Recipe],
    folder: RunFolder | None,
    *,
    device: torch.device,
    ranks: Ranks,
    stop: Stop,
) -> Done:
    saved = None
    decided: list[dict[str, Any]] = []
    if job.resume and folder is not None:
        stored, kept = folder.read_recipe()
        refuse_changes(stored, job.tree, folder.path)
        decided = list(kept["stages"])
        saved = checkpoint.newest(folder.checkpoints, step=job.step, say=job.progress.say)
        if saved is None:
            job.progress.say(f"{folder.path}: no complete checkpoint; starting from step 0")
    first = saved.state["position"]["stage"] if saved else 0
    done: Done | None = None
    weights = job.init
    for number in range(first, len(recipes)):
        known = decided[number] if number < len(decided) else None
        stage = Stage(job, recipes[number], number, device=device, ranks=ranks)
        if known is None:
            known = stage.decide()
            decided.append(known)
            if folder is not None and ranks.first:
                named = {"name": job.tree.name, "extends": list(job.tree.chain[1:])}
                folder.write_recipe(job.tree.keys, {**named, "stages": decided})
        before = sum(d["steps"] for d in decided[:number])
        done = stage.train(known, folder, stop, weights=weights, saved=saved, before=before)
        saved, weights = None, checkpoint.own_tensors(done.model)
        if done.result.stopped == "signal":
            return done
    assert done is not None
    if folder is not None and ranks.first:
        history = {"training": summary(done), **job.history}
        save_model(folder.path / "model", done.model, trees[-1], done.facts, history=history)
    return done


def refuse_changes(stored: dict[str, Any], tree: Tree, where: Path) -> None:
    """Raise RecipeError listing what differs between a run's recipe and the one it is resumed with."""
    changes = diff(Tree(tree.name, stored), tree)
    if changes:
        lines = "\n".join(f"  {path}: {brief(a)} in the run, {brief(b)} now" for path, a, b in changes)
        raise RecipeError(
            f"{where}: the recipe has changed since this run began\n{lines}\n"
            f"  next: resume with the same recipe, or start a new run with --init {where}"
        )


def summary(done: Done) -> dict[str, Any]:
    """What a model card says about the training."""
    p = done.result.position
    return {
        "steps": p.step,
        "tokens": p.tokens,
        "seconds": round(p.seconds, 1),
        "seed": done.recipe.loop.seed,
        **{f"final {k}": round(v, 4) for k, v in done.result.losses.items()},
        **{f"held out {k}": round(v, 4) for k, v in done.result.valid.items()},
    }


def busy() -> float:
    """How many cores were busy in the last minute, if so many that a measurement now says little; else 0."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return load if load > 0.75 * (os.cpu_count() or 1) else 0.0


class Stage:
    """One stage: builds its sources and model, decides what the recipe left open, trains."""

    def __init__(self, job: Job, recipe: Recipe, number: int, *, device: torch.device, ranks: Ranks):
        self.job, self.recipe, self.number, self.device, self.ranks = job, recipe, number, device, ranks
        stores = job.stores
        self.facts = job.facts or facts_from(stores)
        self.sources = {n: build("data.sources", c, stores[n], self.facts, "train") for n, c in recipe.data.items()}
        if not (job.facts and job.facts.labels):  # what the data calls its classes
            named = {n: list(s.labels) for n, s in self.sources.items() if getattr(s, "labels", None)}
            self.facts = replace(self.facts, labels=self.facts.labels | named)
        self.held_out = self.hold_out()

    def hold_out(self) -> dict[str, Source]:
        """The held-out rows of every source; none at all if one of them has too few for a row."""
        out = {}
        for name, config in self.recipe.data.items():
            store = self.job.stores[name]
            if store.valid is None:
                return {}
            try:
                out[name] = build("data.sources", config, store, self.facts, "valid")
            except DataError:
                return {}
        return out

    def feeds(self, model: Model, known: dict[str, Any]) -> tuple[Feed, Feed | None]:
        loop = self.recipe.loop
        objectives = dict(model.each())
        for objective in objectives.values():
            objective.consult(self.sources)
        common: dict[str, Any] = {
            "batch": loop.batch,
            "micro": known["micro"],
            "seed": loop.seed,
            "total": known["steps"],
        }
        train = Feed(self.sources, objectives, self.recipe.mix, ranks=self.ranks, **common)
        if not self.held_out:
            return train, None
        return train, Feed(self.held_out, objectives, self.recipe.mix, split="valid", **common)

    def length(self) -> int:
        """Tokens in a row of the first source."""
        config = next(iter(self.recipe.data.values()))
        return int(getattr(config, "length", 1) or 1)

    def decide(self) -> dict[str, Any]:
        """What the recipe leaves to the machine, decided once and written down: precision, micro-batch, steps."""
        loop = self.recipe.loop
        width = int(getattr(self.recipe.backbone, "width", None) or 512)
        precision, gain = choose_precision(loop.precision, self.device, width=width)
        share = loop.batch // self.ranks.size
        micro = loop.micro or largest_divisor(share, max(1, ROWS_AT_ONCE // self.length()))
        known: dict[str, Any] = {
            "precision": precision,
            "bf16_gain": round(gain, 2),
            "micro": micro,
            "steps": loop.steps,
        }
        if self.job.budget is not None:
            known |= self.measure(known)
        said = json.dumps(known)
        return json.loads(self.ranks.tell(said))

    def measure(self, known: dict[str, Any]) -> dict[str, Any]:
        """Time a few steps on a model that is then thrown away, and turn the budget into steps."""
        budget = self.job.budget
        assert budget is not None
        if budget.unit == "steps":
            return {"steps": budget.steps(tokens=1, flop=1, seconds=1)}
        if budget.unit == "seconds" and (load := busy()):
            self.job.progress.say(
                f"other programs keep {load:.1f} of {os.cpu_count()} cores busy: the budget will buy fewer steps"
                " than this machine could do"
            )
        model = make_model(self.recipe, self.facts, seed=self.recipe.loop.seed)
        feed, _ = self.feeds(model, known)
        trainer = self.trainer(model, feed, None, known, None)
        flop = step_flop(trainer, feed.step(0)) if budget.unit == "flop" else 0.0
        begun, times, counted = time.perf_counter(), [], 0
        while len(times) < 3 or (time.perf_counter() - begun < 4.0 and len(times) < 20):
            start = time.perf_counter()
            step = feed.step(len(times))
            trainer.take(step)
            times.append(time.perf_counter() - start)
            counted += step.tokens
        usual = sorted(times[1:])[len(times[1:]) // 2]
        spent = time.perf_counter() - begun
        left = Budget(max(budget.amount - spent, usual), "seconds") if budget.unit == "seconds" else budget
        steps = left.steps(tokens=counted / len(times), flop=flop, seconds=usual)
        return {
            "steps": steps,
            "seconds_per_step": round(usual, 5),
            **({"flop_per_step": flop} if flop else {}),
            "budget": f"{budget.amount:g} {budget.unit}",
        }

    def trainer(
        self, model: Model, feed: Feed, valid: Feed | None, known: dict[str, Any], folder: RunFolder | None
    ) -> Trainer:
        loop = self.recipe.loop.model_copy(update={"steps": known["steps"]})
        recipe = self.recipe.model_copy(update={"loop": loop})
        identity = {
            "tokenizer": getattr(self.facts.tokenizer, "fingerprint", None),
            "data": data_identity(self.job.stores),
        }
        if self.recipe.loop.recompute == "full":
            recompute_blocks(model)
        return Trainer(
            recipe,
            model,
            feed,
            valid=valid,
            folder=folder,
            device=self.device,
            precision=known["precision"],
            ranks=self.ranks,
            progress=self.job.progress if folder is not None or self.job.out is None else Silent(),
            identity=identity,
        )

    def train(
        self,
        known: dict[str, Any],
        folder: RunFolder | None,
        stop: Stop,
        *,
        weights: dict[str, torch.Tensor] | None,
        saved: checkpoint.Saved | None,
        before: int,
    ) -> Done:
        model = make_model(self.recipe, self.facts, seed=self.recipe.loop.seed)
        baselines = {n: o.baselines(self.facts) for n, o in model.each()}
        if weights is not None and saved is None:
            self.take_over(model, weights)
        feed, valid = self.feeds(model, known)
        trainer = self.trainer(model, feed, valid, known, folder)
        trainer.position.stage, trainer.position.before = self.number, before
        if folder is not None and saved is not None:
            check_identity(saved.state["identity"], trainer.identity, folder.path)
            trainer.restore(saved)
        if folder is not None and self.ranks.first:
            folder.cut_log(trainer.position.overall) if saved or self.job.resume else None
            extra = {
                "device": str(self.device),
                "threads": torch.get_num_threads(),
                "processes": self.ranks.size,
                "parameters": parameter_count(model),
            }
            folder.write_environment({**extra, "decided": known, "baselines": baselines})
        self.announce(model, known, baselines)
        result = trainer.fit(stop)
        return Done(result, model, self.recipe, self.facts, folder, known, baselines)

    def announce(self, model: Model, known: dict[str, Any], baselines: dict[str, dict[str, float]]) -> None:
        say = self.job.progress.say
        gain = f" (bf16 products {known['bf16_gain']} times as fast)" if known.get("bf16_gain") else ""
        say(
            f"{self.job.tree.name}: {parameter_count(model):,} parameters, {known['steps']} steps of "
            f"{self.recipe.loop.batch} rows, micro-batch {known['micro']}, {known['precision']}{gain}, {self.device}"
        )
        for name, values in baselines.items():
            if values:
                say(
                    f"  {name} without learning: "
                    + ", ".join(f"{k} {v:.3f}" for k, v in values.items())
                    + " nats per target"
                )

    def take_over(self, model: Model, weights: dict[str, torch.Tensor]) -> None:
        """Weights of an earlier stage or model, wherever the name and shape are the same; at least the backbone's."""
        own = checkpoint.own_tensors(model)
        common = {n: t for n, t in weights.items() if n in own and own[n].shape == t.shape}
        added = getattr(model.backbone, "added", ())  # what a model that it extends lacks
        lost = [n for n in own if n.startswith("backbone.") and n not in common and n.split(".")[1] not in added]
        if lost:
            raise InputError(
                f"--init: {len(lost)} tensors of the backbone are missing there or of another shape: {lost[0]} ..."
            )
        with torch.no_grad():
            for name, tensor in common.items():
                own[name].copy_(tensor)


def facts_from(stores: dict[str, Store]) -> Facts:
    """The facts of several stores: the tokenizer of the first that has one, every store's labels, the images' size.

    Raises DataError if two stores were written with different tokenizers."""
    home = next((s for s in stores.values() if (s.path / "tokenizer.json").is_file()), None)
    tokenizer = load_tokenizer(home.path) if home is not None else None
    facts = facts_of(home if home is not None else next(iter(stores.values())), tokenizer)
    for name, store in stores.items():
        more = facts_of(store, tokenizer if "tokens" in store else None)
        facts.labels |= dict.fromkeys([name] if more.labels else [], next(iter(more.labels.values()), []))
        facts.types = {n: max(facts.types.get(n, 0), more.types.get(n, 0)) for n in facts.types | more.types}
        facts.image = facts.image or more.image
        facts.relations = facts.relations or more.relations
        if not facts.entities:  # the first store that names entities numbers them
            facts.entities, facts.names, facts.vectors = more.entities, more.names, more.vectors
    if home is not None and "tokens" in home:
        facts.pairs = functools.cache(lambda: bigram_cost(home, facts.vocab))
    return facts


def bigram_cost(store: Store, vocab: int, *, most: int = 2_000_000) -> float:
    """Nats a held-out token costs under 0.7 bigram + 0.3 unigram counted on up to `most` tokens: a cheap baseline.

    On the training tokens themselves if nothing was held out."""
    seen = np.asarray(store["tokens"][:most], np.int64)
    new = np.asarray((store.valid or store)["tokens"][: most // 10], np.int64)
    single = np.bincount(seen, minlength=vocab) + 1.0
    kinds, counts = np.unique(seen[:-1] * vocab + seen[1:], return_counts=True)
    wanted = new[:-1] * vocab + new[1:]
    at = np.minimum(np.searchsorted(kinds, wanted), len(kinds) - 1)
    pair = np.where(kinds[at] == wanted, counts[at], 0) / single[new[:-1]]
    return float(-np.log(0.7 * pair + 0.3 * single[new[1:]] / single.sum()).mean())


def data_identity(stores: dict[str, Store]) -> dict[str, str]:
    """A digest of what each store was made from, so that a run is not continued on other data."""
    return {
        n: hashlib.sha256(json.dumps(s.meta, sort_keys=True, default=str).encode()).hexdigest()
        for n, s in stores.items()
    }


def check_identity(before: dict[str, Any], now: dict[str, Any], where: Path) -> None:
    """Raise InputError if a run is continued with another tokenizer or other data."""
    if before.get("tokenizer") != now.get("tokenizer"):
        raise InputError(
            f"{where}: the run used the tokenizer {before.get('tokenizer')}, the data now has {now.get('tokenizer')}"
        )
    for name, digest in now["data"].items():
        if before["data"].get(name) != digest:
            raise InputError(
                f"{where}: the data of {name!r} has changed since this run began\n"
                "  next: give the same --data, or start a new run with --init"
            )


def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of n that is at most `most`."""
    return max(d for d in range(1, n + 1) if n % d == 0 and d <= max(1, most))
