"""How many rows fit into memory at once: measured on a few rows of the recipe's own data, for each way to recompute."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from modeledge.core import RecipeError
from modeledge.engine.device import choose_device
from modeledge.engine.memory import Live, free_bytes
from modeledge.engine.processes import ALONE
from modeledge.recipe.resolve import Tree, resolve
from modeledge.recipe.schema import check
from modeledge.run.feed import Feed
from modeledge.run.job import stores_for
from modeledge.run.model import make_model, parameter_count
from modeledge.run.progress import make_progress
from modeledge.run.stage import Job, Stage
from modeledge.run.stores import open_or_make_all

ROWS = (2, 4, 8, 16, 32, 64)
"""Rows of the passes that are measured, one after the other, until each adds what the last one did: with few rows the
gradients of the weights hide the activations."""
ALIKE = 0.05
"""How far apart two measured costs of a row may be."""
SPARE = 0.8
"""Share of the free memory that is filled: kernels need some for themselves, and allocators waste some (with 256 rows
of a small BERT on a CPU a fifth more was resident than is counted here)."""
WAYS = ("none", "selective", "full")


@dataclass(frozen=True)
class Way:
    """One way to recompute: bytes that every row in a pass needs, and how many fit."""

    recompute: str
    row: float
    most: int


@dataclass(frozen=True)
class Room:
    """What a training step needs. fixed: bytes of weights, gradients and moments; free: bytes of the device."""

    recipe: str
    device: str
    parameters: int
    length: int
    fixed: int
    free: int
    ways: list[Way]

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{self.recipe}: {self.parameters:,} parameters; weights, gradients and moments {_size(self.fixed)}; "
            f"{_size(self.free)} free on {self.device}"
        ]
        for way in self.ways:
            most = f"at most {way.most:,} rows at once" if way.most else "not even one row fits"
            lines.append(f"  loop.recompute={way.recompute}: a row of {self.length} {_size(way.row)}, {most}")
        return "\n".join([*lines, "larger batches than fit at once are made of several passes: --set loop.micro=N"])


def _size(bytes_: float) -> str:
    for unit in ("B", "kB", "MB"):
        if bytes_ < 1000:
            return f"{bytes_:.3g} {unit}"
        bytes_ /= 1000
    return f"{bytes_:,.3g} GB"


def measure_room(
    recipe: str,
    *,
    data: Iterable[str],
    size: str | None = None,
    sets: Iterable[str] = (),
    device: str = "auto",
    quiet: bool = False,
) -> Room:
    """Take passes of a few rows with every way to recompute, and reckon from them.

    Raises InputError for what `pretrain` would refuse too."""
    tree = resolve(recipe, size=size, sets=list(sets))
    checked, on = check(tree), choose_device(device)
    progress = make_progress(quiet=quiet)
    with tempfile.TemporaryDirectory(prefix="modeledge-room-") as cache:
        stores = open_or_make_all(stores_for(checked, data), checked, cache=Path(cache), progress=progress)
        free, ways = free_bytes(on), []
        for what in WAYS:
            try:
                found = Passes(tree, stores, what, on)
            except RecipeError:
                if what == "none":
                    raise
                continue  # this model has nothing to compute again in this way
            row, base = found.measure()
            ways.append(Way(what, row, max(0, int((SPARE * free - base) / row))))
    return Room(tree.name, str(on), parameter_count(found.model), found.stage.length(), found.fixed, free, ways)


class Passes:
    """A model and its trainer after one step. fixed: bytes of what stays between steps, gradients included."""

    def __init__(self, tree: Tree, stores: dict[str, Any], what: str, device: torch.device):
        loop = {**tree.keys.get("loop", {}), "recompute": what, "compile": False, "batch": ROWS[0], "micro": 0}
        recipe = check(Tree(tree.name, {**tree.keys, "loop": loop}))
        job = Job(tree, stores, None, device=device.type)
        self.stage = Stage(job, recipe, 0, device=device, ranks=ALONE)
        self.known = self.stage.decide()
        gc.collect()
        with Live() as self.live:
            self.model = make_model(recipe, self.stage.facts, seed=0)
            self.trainer = self.stage.trainer(self.model, self.feed(ROWS[0]), None, self.known, None)
            self.model.train()
            self.trainer.take(self.trainer.feed.step(0))
        self.fixed = self.live.now + sum(p.nbytes for p in self.trainer.parameters)

    def feed(self, rows: int) -> Feed:
        """Batches of so many rows in one pass."""
        stage = self.stage
        stage.recipe = stage.recipe.model_copy(update={"loop": stage.recipe.loop.model_copy(update={"batch": rows})})
        return stage.feeds(self.model, {**self.known, "micro": rows})[0]

    def peak(self, rows: int) -> int:
        """The most bytes in the passes of a step of so many rows."""
        step = self.feed(rows).step(0)
        with self.live:
            self.live.most = self.live.now
            self.trainer.backward(step)
        self.trainer.optimizer.zero_grad(set_to_none=True)
        return self.live.most

    def measure(self) -> tuple[float, float]:
        """Bytes that grow with the rows, for one; and those that do not."""
        peak, row, more = self.peak(ROWS[0]), 1.0, ROWS[0]
        for less, more in pairwise(ROWS):
            before, last, peak = peak, row, self.peak(more)
            row = max((peak - before) / (more - less), 1.0)
            if row > 1.0 and abs(row - last) <= ALIKE * row:
                break
        return row, peak - more * row
