"""What a claim can be judged by: held-out figures, tasks, translations found, parameters.

A measure takes a trained arm and gives one number. Where something is chosen for an arm once, as a learning rate is,
it is chosen with the first seed's model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator

from modeledge.analysis.retrieval import retrieval
from modeledge.core import Config, RecipeError, build, nearest, unknown
from modeledge.data.readers import Wanted
from modeledge.data.store import Store
from modeledge.data.tables import Table
from modeledge.engine.device import choose_device
from modeledge.recipe.resolve import Tree, override, resolve
from modeledge.recipe.schema import check
from modeledge.run.budget import parse_budget
from modeledge.run.checkpoint import own_tensors, set_tensors
from modeledge.run.embed import embed
from modeledge.run.evaluate import evaluate
from modeledge.run.explain import explain
from modeledge.run.feed import Feed
from modeledge.run.finetune import finetune
from modeledge.run.job import run_job
from modeledge.run.keep import Loaded, load_model
from modeledge.run.known import facts_from
from modeledge.run.model import make_model
from modeledge.run.progress import Silent
from modeledge.run.question import Question, Tuning
from modeledge.run.rates import best_rate
from modeledge.run.stage import Job

ROWS = 64
"""Rows in a batch of held-out ones."""
TUNING = tuple(f.name for f in fields(Tuning))


@dataclass
class Trained:
    """A trained arm with one seed. recipe, sets: as the arm gives them; tree: all of its recipe; tuning, columns: the
    arm's own settings of tasks; files: where a file of the data, or a table that was made, lies."""

    recipe: str
    sets: tuple[str, ...]
    tree: Tree
    run: Path
    stores: dict[str, Store]
    seed: int
    tuning: dict[str, Any]
    columns: dict[str, str]
    files: Callable[[str], Path]
    device: str = "auto"

    @cached_property
    def loaded(self) -> Loaded:
        """The model."""
        return load_model(self.run)


class Base(Config):
    """One way to judge an arm."""

    def brief(self) -> Any:
        """The same in a few steps, to see whether it runs."""
        return self

    def choose(self, trained: Trained) -> dict[str, Any]:
        """What is chosen once for an arm."""
        return {}

    def take(self, trained: Trained, chosen: dict[str, Any]) -> float:
        """The value."""
        raise NotImplementedError


class HeldOut(Base):
    """A loss (nats per target) or a metric on held-out rows.

    figure: its name, e.g. mlm or nsp.accuracy; sets: overrides of the arm's recipe, so that all arms are asked the
    same; budget: train so first, beginning with the arm's weights (none: the model as it is); batches: of 64 rows."""

    kind: Literal["held_out"]
    figure: str
    sets: tuple[str, ...] = ()
    budget: str | None = None
    batches: int = Field(32, ge=1)

    def brief(self) -> HeldOut:
        return self.model_copy(update={"budget": self.budget and "2steps", "batches": 1})

    def take(self, trained: Trained, chosen: dict[str, Any]) -> float:
        keys = trained.tree.keys
        for text in (*self.sets, f"loop.seed={trained.seed}", f"loop.evaluate.batches={self.batches}"):
            keys = override(keys, text, {})
        found = self._trained(trained, keys) if self.budget else self._as_it_is(trained, keys)
        if self.figure not in found:
            raise RecipeError(unknown("figure", "held-out figure", self.figure, found))
        return found[self.figure]

    def _trained(self, trained: Trained, keys: dict[str, Any]) -> dict[str, float]:
        tree = Tree(trained.tree.name, keys)
        stores = {name: trained.stores[name] for name in check(tree).data}
        weights = own_tensors(trained.loaded.model)
        job = Job(tree, stores, None, parse_budget(str(self.budget)), weights, device=trained.device)
        done = run_job(job)
        if done.result.exit_code:
            raise SystemExit(done.result.exit_code)
        return done.result.valid

    def _as_it_is(self, trained: Trained, keys: dict[str, Any]) -> dict[str, float]:
        recipe = check(Tree(trained.tree.name, keys))
        stores = {name: trained.stores[name] for name in recipe.data}
        facts = facts_from(stores)
        model, known = make_model(recipe, facts, seed=0), own_tensors(trained.loaded.model)
        set_tensors(model, {n: known[n] for n in own_tensors(model) if n in known}, where=str(trained.run))
        sources = {n: build("data.sources", c, stores[n], facts, "valid") for n, c in recipe.data.items()}
        feed = Feed(sources, dict(model.each()), recipe.mix, batch=ROWS, micro=ROWS, seed=0, total=1, split="valid")
        device = choose_device(trained.device)
        return evaluate(model.to(device), feed, batches=self.batches, device=device, precision="fp32")


class Task(Base):
    """The figure of a task after fine-tuning.

    task, data, valid, columns, length, metric: as of a question; tuning: how it is taught; rates: learning rates of
    which each arm takes its best, told on a part of the training rows."""

    kind: Literal["task"]
    task: str
    data: str
    valid: str | None = None
    columns: dict[str, str] = {}
    length: int | None = None
    metric: str = ""
    tuning: dict[str, Any] = {}
    rates: tuple[float, ...] = ()

    @field_validator("tuning")
    @classmethod
    def _known(cls, tuning: dict[str, Any]) -> dict[str, Any]:
        return known_tuning(tuning)

    def brief(self) -> Task:
        tuning = self.tuning | {"most": 2, "least": 0, "labels": 64}
        return self.model_copy(update={"tuning": tuning, "rates": ()})

    def choose(self, trained: Trained) -> dict[str, Any]:
        if len(self.rates) < 2:
            return {"lr": self.rates[0]} if self.rates else {}
        question, tuning = self._asked(trained)
        rate, tried = best_rate(trained.loaded, question, tuning, self.rates, device=trained.device)
        return {"lr": rate, "tried": {f"{r:g}": v for r, v in tried.items()}}

    def take(self, trained: Trained, chosen: dict[str, Any]) -> float:
        question, tuning = self._asked(trained)
        tuning = replace(tuning, lr=chosen.get("lr", tuning.lr))
        seed = trained.seed
        tuned = finetune(trained.loaded, question, tuning, seeds=[seed], device=trained.device, progress=Silent())
        if tuned.exit_code:
            raise SystemExit(tuned.exit_code)
        return tuned.values()[seed]

    def _asked(self, trained: Trained) -> tuple[Question, Tuning]:
        columns: dict[str, Any] = {**self.columns, **trained.columns}
        columns |= {name: str(trained.files(columns[name])) for name in ("graph", "entities") if name in columns}
        data = trained.files(self.data)
        valid = trained.files(self.valid) if self.valid else None
        question = Question(self.task, data, valid, columns or None, self.length, metric=self.metric, name=self.task)
        tuning = Tuning(**(self.tuning | trained.tuning))
        precision = (trained.tree.keys.get("loop") or {}).get("precision")
        same = (f"loop.precision={precision}",) if precision else ()  # not as measured anew for each cell
        return question, replace(tuning, sets=(*same, *tuning.sets))


class Translations(Base):
    """How often the nearest vector of the other language is the translation, mean of both directions.

    A vector is the mean of a sentence's last states. file: a table; first, second: its columns; langs: the numbers of
    their languages, for a model that is told them; rows: the first so many."""

    kind: Literal["translations"]
    file: str
    first: str
    second: str
    langs: tuple[int, int] | None = None
    rows: int = Field(500, ge=2)
    length: int = 64

    def take(self, trained: Trained, chosen: dict[str, Any]) -> float:
        names = {self.first: (str,), self.second: (str,)}
        records = Table.open(trained.files(self.file)).read(Wanted(names))[: self.rows]
        told = self.langs or (None, None)
        vectors = [
            torch.from_numpy(embed(trained.loaded, [r.value[name] for r in records], length=self.length, lang=lang))
            for name, lang in zip(names, told, strict=True)
        ]
        found = retrieval(vectors[0], vectors[1], np.arange(len(records)), ranks=(1,))
        return float(np.mean([way["recall@1"] for way in found.values()]))


class Parameters(Base):
    """Parameters of the backbone in the size of the paper (or `size`), with the arm's own overrides alone."""

    kind: Literal["parameters"]
    size: str | None = None

    def take(self, trained: Trained, chosen: dict[str, Any]) -> float:
        tree = resolve(trained.recipe, size=self.size, sets=trained.sets)
        return float(explain(tree).parameters["backbone parameters"])


Measure = HeldOut | Task | Translations | Parameters


def known_tuning(tuning: dict[str, Any]) -> dict[str, Any]:
    """Settings of a Tuning. Raises ValueError for one that it does not have."""
    for name in tuning:
        if name not in TUNING:
            close = nearest(name, TUNING)
            raise ValueError(f"no setting {name!r}" + (f"; did you mean {close!r}?" if close else ""))
    return tuning
