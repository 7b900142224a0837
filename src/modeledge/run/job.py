"""From a recipe and data to a trained model: the work every training verb shares. Not here: one stage (stage.py)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from modeledge.core import RecipeError, unknown
from modeledge.engine.device import choose_device
from modeledge.engine.memory import keep_freed_memory
from modeledge.engine.processes import Ranks, join
from modeledge.recipe.resolve import Tree, merge
from modeledge.recipe.schema import Recipe, check
from modeledge.run import checkpoint
from modeledge.run.folder import RunFolder
from modeledge.run.identity import refuse_changes, refuse_other_budget
from modeledge.run.keep import save_model
from modeledge.run.loop import Position
from modeledge.run.stage import Done, Job, Stage
from modeledge.run.track import make_tracker


def stores_for(recipe: Recipe, data: Iterable[str]) -> dict[str, Path]:
    """`--data` arguments (a path, or name=path) matched with the names in the recipe's data; a single path serves all.

    Raises RecipeError for a name the recipe does not have and for one that got no path."""
    names, data = list(recipe.data), list(data)
    if len(data) == 1 and not _named(data[0], names):
        return dict.fromkeys(names, Path(data[0]))
    out: dict[str, Path] = {}
    for text in data:
        name, _, path = text.partition("=")
        if not _named(text, names):
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


def _named(text: str, names: list[str]) -> bool:
    """Whether `--data` says name=path; a path that is there may have `=` in it."""
    name, equals, _ = text.partition("=")
    return bool(equals) and (name in names or not Path(text).exists())


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
        folder.begin(resume=job.resume)
        tracker = make_tracker(job.track, folder.path, say=job.progress.warn) if job.track else None
        folder.hears = [tracker] if tracker else []
    ranks.wait()
    try:
        return _run_stages(job, trees, recipes, folder, device=device, ranks=ranks)
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
) -> Done:
    saved = None
    decided: list[dict[str, Any]] = []
    if job.resume and folder is not None:
        stored, kept = folder.read_recipe()
        refuse_changes(stored, job.tree, folder.path)
        decided = list(kept["stages"])
        refuse_other_budget(decided, job.budget, folder.path)
        saved = checkpoint.newest(folder.checkpoints, step=job.step, say=job.progress.warn)
        if saved is None:
            job.progress.warn(f"{folder.path}: no complete checkpoint; starting from step 0")
    first = saved.state["position"]["stage"] if saved else 0
    done: Done | None = None
    ended = Position()
    weights = job.init
    whole = sum(recipe.loop.steps for recipe in recipes)
    for number in range(first, len(recipes)):
        known = decided[number] if number < len(decided) else None
        budget = job.budget and job.budget.share(recipes[number].loop.steps / whole)
        stage = Stage(job, recipes[number], number, device=device, ranks=ranks, budget=budget)
        if known is None:
            known = stage.decide()
            decided.append(known)
            if folder is not None and ranks.first:
                named = {"name": job.tree.name, "extends": list(job.tree.chain[1:])}
                folder.write_recipe(job.tree.keys, {**named, "stages": decided})
        done = stage.train(known, folder, weights=weights, saved=saved, before=ended)
        done.decided = decided[: number + 1]
        saved, weights, ended = None, checkpoint.own_tensors(done.model), done.result.position
        if done.result.exit_code:
            return done
    assert done is not None
    if folder is not None and ranks.first:
        history = {"training": summary(done), **job.history}
        save_model(folder.path / "model", done.model, trees[-1], done.facts, history=history)
    return done


def summary(done: Done) -> dict[str, Any]:
    """What a model card says about the training."""
    p = done.result.position
    return {
        "steps": p.overall,
        "tokens": p.tokens,
        "seconds": round(p.seconds, 1),
        "seed": done.recipe.loop.seed,
        **{f"final {k}": round(v, 4) for k, v in done.result.losses.items()},
        **{f"held out {k}": round(v, 4) for k, v in done.result.valid.items()},
    }
