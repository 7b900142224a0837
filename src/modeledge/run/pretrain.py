"""Pre-training as one call: a recipe, data, a place to write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from modeledge.core import Facts, InputError
from modeledge.data.store import Store
from modeledge.data.tables import Table
from modeledge.engine.processes import join
from modeledge.interop import import_folder, read_config
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run.budget import parse_budget
from modeledge.run.checkpoint import own_tensors
from modeledge.run.identity import refuse_other_ids
from modeledge.run.job import run_job, stores_for, summary
from modeledge.run.keep import load_model
from modeledge.run.progress import Mute, make_progress
from modeledge.run.stage import Done, Job
from modeledge.run.stores import open_or_make_all
from modeledge.tokenizers import load_tokenizer


@dataclass
class Outcome:
    """What a training verb reports: where things lie and what was measured."""

    done: Done
    out: Path

    @property
    def exit_code(self) -> int:
        """0, or 128 + the signal that stopped the run."""
        return self.done.result.exit_code

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {"out": str(self.out), "stopped": self.done.result.stopped, **summary(self.done)}

    def __str__(self) -> str:
        facts = summary(self.done)
        lines = [
            f"stopped by {self.done.result.stopped} after step {facts['steps']}"
            if self.done.result.stopped
            else f"{facts['steps']} steps done"
        ]
        lines += [f"  {k}: {v}" for k, v in facts.items() if k.startswith(("final", "held out"))]
        lines += [f"  {n}: {verdict(self.done, n)}" for n in self.done.baselines if verdict(self.done, n)]
        if self.exit_code:
            lines += [f"next: modeledge pretrain ... --out {self.out} --resume"]
        else:
            lines += [f"model: {self.out / 'model'}"]
        return "\n".join(lines)


def verdict(done: Done, objective: str) -> str:
    """Whether an objective has learnt more than the frequencies of its targets; empty where there is no baseline."""
    unigram = done.baselines[objective].get("unigram")
    first: str = dict(done.model.each())[objective].losses[0]
    loss = done.result.valid.get(first, done.result.losses.get(first))
    if unigram is None or loss is None:
        return ""
    if loss < unigram:
        return f"{unigram - loss:.2f} nats per target below the unigram baseline of {unigram:.2f}"
    return f"not below the unigram baseline of {unigram:.2f}; next: more steps, or another optim.lr"


def pretrain(
    recipe: str,
    *,
    data: Iterable[str] = (),
    out: str | Path,
    size: str | None = None,
    budget: str | None = None,
    sets: Iterable[str] = (),
    init: str | Path | None = None,
    resume: bool = False,
    step: int | None = None,
    device: str = "auto",
    track: str | None = None,
    quiet: bool = False,
) -> Outcome:
    """Train `recipe` on `data` (files, folders or stores) and write a run folder to `out`.

    Raises InputError before the first step for anything wrong with the input, RunError for what goes wrong later."""
    out = Path(out)
    tree = resolve(recipe, size=size, sets=list(sets))
    checked = check(tree)
    amount = parse_budget(budget) if budget else None
    paths = stores_for(checked, data)
    weights = weights_in(Path(init)) if init is not None else None
    ranks = join()
    progress = make_progress(quiet=quiet) if ranks.first else Mute()
    if not ranks.first:
        ranks.wait()  # the first process makes the stores, the others open them
    cache = out / "stores"
    stores = open_or_make_all(paths, checked, cache=cache, progress=progress, begun=init is not None)
    if ranks.first:
        ranks.wait()
    if init is not None and (home := tokenizer_home(Path(init))) is not None:
        own = load_tokenizer(home)
        for store in stores.values():
            refuse_other_ids(store, own, home)
    facts = facts_for(stores, Path(init) if init is not None else None)
    job = Job(
        tree, stores, out, amount, weights, facts, device, progress=progress, resume=resume, step=step, track=track
    )
    job.history["data"] = {n: str(p) for n, p in paths.items()}
    return Outcome(run_job(job), out)


def facts_for(stores: Mapping[str, Store | Table], init: Path | None) -> Facts | None:
    """What the model to begin with knows, where no data comes with a tokenizer (tables); else None: the stores say it.

    Raises InputError if there is no such model either."""
    if not all(isinstance(store, Table) for store in stores.values()):
        return None
    if init is None or (init / "config.json").is_file() and "modeledge" not in read_config(init):
        raise InputError(
            f"--data: {', '.join(stores)}: tables are read with the tokenizer of a model of ours\n"
            "  next: --init FOLDER (a Hugging Face one: `modeledge import` it first)"
        )
    return replace(load_model(init).facts, labels={})


def tokenizer_home(init: Path) -> Path | None:
    """Where the tokenizer of a run or a model folder lies, if it has one."""
    return next((p for p in (init / "model", init) if (p / "tokenizer.json").is_file()), None)


def weights_in(folder: Path) -> dict[str, Tensor]:
    """The tensors of a model folder, ours or Hugging Face's, by our names."""
    if (folder / "config.json").is_file() and "modeledge" not in read_config(folder):
        return import_folder(folder).state
    return own_tensors(load_model(folder).model)
