"""From a step's number to its batches: nothing here depends on the steps before it.

The view is drawn for the whole global batch and each rank takes its rows, so any number of ranks, workers and
micro-batches sees the same data, and the denominators of the losses are known before the first forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from typing import Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from modeledge.core import Batch, DataError, RecipeError, keyed
from modeledge.data.sources import Source
from modeledge.data.sources._stream import NOTES
from modeledge.engine.processes import ALONE, Ranks
from modeledge.objectives import Objective
from modeledge.recipe.schema import Mix, Rampup
from modeledge.run.order import Batches, Order
from modeledge.run.signals import be_deaf
from modeledge.run.turns import Turns, ramp


@dataclass
class Work:
    """One group of objectives over the micro-batches of this rank: a forward pass each."""

    names: tuple[str, ...]
    micros: list[Batch]


@dataclass
class Step:
    """Everything a step needs: its work, the global number of targets of each loss, and of tokens."""

    number: int
    works: list[Work]
    counts: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    rows: dict[str, np.ndarray] = field(default_factory=dict)


class Feed:
    """Builds steps. `split` is "train" (shuffled anew each epoch) or "valid" (in order, the same each time).

    first: the source that an objective reads if it names none (default: the first). Held-out rows may be those of some
    sources only; objectives that read the others are then left out."""

    def __init__(
        self,
        sources: dict[str, Source],
        objectives: dict[str, Objective],
        mix: Mix,
        *,
        batch: int,
        micro: int,
        seed: int,
        total: int,
        ranks: Ranks = ALONE,
        split: str = "train",
        unit: Literal["rows", "tokens"] = "rows",
        rampup: Rampup | None = None,
        first: str | None = None,
    ):
        self.sources, self.objectives, self.mix = sources, objectives, mix
        self.first = first or next(iter(sources), "")
        self.batch, self.seed, self.total, self.ranks, self.split = batch, seed, total, ranks, split
        for key, rows in {"batch": batch, "rampup.start": rampup.start if rampup else 0}.items():
            if rows % ranks.size:
                raise DataError(f"loop.{key}: {rows} rows cannot be shared evenly by {ranks.size} processes")
        self.micro = min(micro or batch, batch // ranks.size)
        if not objectives:
            raise RecipeError("objectives: there is nothing to train on\n  next: --set 'objectives=[{kind: mlm}]'")
        for name, source in sources.items():
            if len(source) < (batch if split == "train" else 1):
                raise DataError(
                    f"data.{name}: {len(source)} {split} rows, fewer than one batch of {batch}\n"
                    f"  next: more data, --set loop.batch={max(1, len(source))}, or a shorter data.{name}.length"
                )
        varies = unit == "tokens" or rampup is not None
        if varies and (whole := [name for name, o in objectives.items() if o.whole_batch]):
            key, without = ("rampup", "loop.rampup=null") if rampup else ("unit: tokens", "loop.unit=rows")
            raise RecipeError(
                f"loop.{key}: objectives.{whole[0]} compares the rows of a batch: so many they must stay\n"
                f"  next: --set {without}"
            )
        self.batches = Batches(batch, rampup, total)
        self.orders = {
            name: Order(source, name=name, batches=self.batches, seed=seed, unit=unit)
            for name, source in sources.items()
        }
        self.tasks = list(mix.rates) or list(objectives)
        if split == "valid":
            self.objectives = {name: o for name, o in objectives.items() if self.source_of(name) in sources}
        self.turns = self.blocks() if mix.kind in ("union", "ramp") and split == "train" else None

    def blocks(self) -> Turns:
        """Who has how many turns, where the objectives take turns."""
        rates = [self.mix.rates.get(name, 1.0) for name in self.tasks]
        read = [self.source_of(task.split("+")[0]) for task in self.tasks]
        batches = [-(-len(self.sources[name]) // self.batch) for name in read]
        union = [[max(1, round(rate * n)) for rate, n in zip(rates, batches, strict=True)]]
        blocks = ramp(rates, self.total) if self.mix.kind == "ramp" else np.array(union)
        return Turns(blocks, self.seed, [list(self.sources).index(name) for name in read])

    def task_of(self, name: str) -> int:
        """The number of the task an objective takes part in; 0 for one that is in none."""
        return next((i for i, task in enumerate(self.tasks) if name in task.split("+")), 0)

    def source_of(self, name: str) -> str:
        """The source an objective reads."""
        return self.objectives[name].config.on or self.first

    def active(self, step: int) -> list[str]:
        """The objectives that take part in this step."""
        names = list(self.objectives)
        if self.mix.kind == "sample" and self.split == "train":
            rates = self.mix.rates or dict.fromkeys(names, 1.0)
            ends = np.cumsum(list(rates.values()))
            draw = keyed(self.seed, "mix", step).random() * ends[-1]
            return list(rates)[min(int(np.searchsorted(ends, draw, side="right")), len(ends) - 1)].split("+")
        if self.turns is not None:
            return self.tasks[self.turns(step)[0]].split("+")
        return names

    def groups(self, names: list[str]) -> list[tuple[str, ...]]:
        """Objectives that can share one forward pass: the same source, the plain forward, at most one own view.

        The one with a view of its own comes first: it decides who sees whom."""
        groups: list[list[str]] = []
        for name in names:
            kind = type(self.objectives[name])
            own_view = kind.view is not Objective.view
            home = None
            if kind.forward is Objective.forward:
                home = next((g for g in groups if self._joins(g, name, own_view)), None)
            if home is None:
                groups.append([name])
            else:
                home.insert(0 if own_view else len(home), name)
        return [tuple(g) for g in groups]

    def _joins(self, group: list[str], name: str, own_view: bool) -> bool:
        first = type(self.objectives[group[0]])
        if first.forward is not Objective.forward or self.source_of(group[0]) != self.source_of(name):
            return False
        return not (own_view and first.view is not Objective.view)

    def rows(self, source: str, step: int) -> Batch:
        """The global batch of raw rows of a source at a step, with each row's number, epoch and share of the run."""
        index, epoch = self.order(source, step)
        made = self.sources[source]
        batch = made.rows(index, made.draws(index, epoch, self.seed, self.split, "rows", source, step))
        done = step / self.total if self.split == "train" else 1.0
        return batch.but(row=index, epoch=epoch, done=np.full(len(index), done, np.float32))

    def order(self, source: str, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Which rows of a source a step reads, and in which epoch each: its next ones where the objectives take
        turns."""
        step = step if self.turns is None else self.turns(step)[1]
        if self.split == "train":
            return self.orders[source](step)
        n = len(self.sources[source])
        index = np.arange(step * self.batch, min((step + 1) * self.batch, n), dtype=np.int64)
        return index, np.zeros_like(index)

    def step(self, number: int) -> Step:
        """Build step `number`."""
        out = Step(number, [])
        for names in self.groups(self.active(number)):
            source = self.source_of(names[0])
            batch = self.rows(source, number)
            out.rows[source] = batch.row
            if batch.size == 0:
                continue
            self.require(names, source, batch)
            if self.mix.kind in ("union", "ramp"):
                batch = batch.but(task=np.full(batch.size, self.task_of(names[0])))
            for name in names:
                batch = self.objectives[name].view(batch, keyed(self.seed, self.split, "view", name, number))
            for name in names:
                out.counts |= self.objectives[name].counts(batch)
            out.tokens += tokens(batch)
            out.works.append(Work(names, list(self.cut(names, batch))))
        return out

    def require(self, names: tuple[str, ...], source: str, batch: Batch) -> None:
        """Raise RecipeError if the source does not give what an objective reads."""
        for name in names:
            lacking = [field for field in self.objectives[name].needs if field not in batch]
            if lacking:
                kind = self.sources[source].config.kind
                noted = "data prepared with --entities, --phrases, --capitals or --column marks=COLUMN"
                other = f"another kind or other settings of data.{source}"
                raise RecipeError(
                    f"objectives.{name}: reads {', '.join(map(repr, lacking))}, which data.{source} ({kind}) does not "
                    f"give; it gives {', '.join(batch)}\n"
                    f"  next: {noted if set(NOTES).issuperset(lacking) else other}, or leave this objective out"
                )
            if "doc" in batch and not self.objectives[name].apart:
                raise RecipeError(
                    f"objectives.{name}: cannot keep the documents of a row apart\n"
                    f"  next: data.{source}.isolate: false, or kind: document, a row for each"
                )
            if "backward" in batch and not self.objectives[name].backward:
                raise RecipeError(
                    f"objectives.{name}: would take rows that are read backwards for text\n"
                    f"  next: data.{source}.backward: false"
                )

    def cut(self, names: tuple[str, ...], batch: Batch) -> Iterator[Batch]:
        """This rank's micro-batches, finished for the model and without columns of padding.

        Rows of like length share one, unless a row's place in the batch means something (memory). If one of the
        objectives asks for the whole batch, there is one; the first of them finishes it, and those that have a finish
        of their own."""
        mine = batch.rows(self.ranks.share(batch.size)) if self.split == "train" else batch
        first, *others = (self.objectives[name] for name in names)
        size = mine.size if any(o.whole_batch for o in (first, *others)) else self.micro
        finishes = [first.finish, *(o.finish for o in others if type(o).finish is not Objective.finish)]
        if "valid" in mine and size < mine.size and "fresh" not in mine:
            mine = mine.rows(np.argsort(mine.lengths(), kind="stable"))
        for start in range(0, mine.size, size):
            micro = mine.rows(slice(start, start + size))
            yield reduce(lambda made, finish: finish(made), finishes, micro if "fresh" in micro else micro.trim())

    def steps(self, start: int, stop: int, *, workers: int = 0) -> Iterator[Step]:
        """Steps start..stop-1 in order, built ahead by `workers` processes."""
        if workers == 0:
            yield from (self.step(i) for i in range(start, stop))
            return
        loader = DataLoader(
            _Steps(self),
            batch_size=None,
            sampler=range(start, stop),  # type: ignore[arg-type]
            num_workers=workers,
            generator=torch.Generator().manual_seed(0),
            collate_fn=_same,  # type: ignore[arg-type]
            worker_init_fn=_deaf,
        )
        yield from loader


class _Steps(Dataset[Step]):
    def __init__(self, feed: Feed):
        self.feed = feed

    def __getitem__(self, number: int) -> Step:
        return self.feed.step(number)


def _same(step: Step) -> Step:
    return step


def _deaf(worker: int) -> None:
    be_deaf()


def tokens(batch: Batch) -> int:
    """Real tokens of a batch: those that are not padding; rows, where there are no tokens."""
    if "valid" in batch:
        return int(batch.valid.sum())
    if "ids" in batch:
        return int(np.asarray(batch.ids).size)
    return batch.size
