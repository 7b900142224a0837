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
        free, ways, facts = free_bytes(on), [], None
        for what in WAYS:
            try:
                passes = Passes(tree, stores, what, on, most=SPARE * free)
                row, base = passes.measure()
            except RecipeError:
                if what == "none":
                    raise
                continue  # this model has nothing to compute again in this way
            ways.append(Way(what, row, max(0, int((SPARE * free - base) / row))))
            facts = facts or (passes.parameters, passes.length, passes.fixed)
    assert facts is not None
    parameters, length, fixed = facts
    return Room(tree.name, str(on), parameters, length, fixed, free, ways)


class Passes:
    """Steps of few rows of a recipe, none of which should need more than `most` bytes.

    fixed: bytes of what stays between steps, gradients included; parameters; length: tokens of a row."""

    def __init__(self, tree: Tree, stores: dict[str, Any], what: str, device: torch.device, *, most: float):
        self.tree, self.stores, self.what, self.device, self.most = tree, stores, what, device, most
        self.fixed = self.parameters = self.length = 0

    def peak(self, rows: int) -> int:
        """The most bytes in the passes of a step of so many rows, after one step was taken."""
        keys = self.tree.keys
        loop = {**keys.get("loop", {}), "recompute": self.what, "compile": False, "batch": rows, "micro": rows}
        data = {n: {**c, "streams": rows} if "streams" in c else c for n, c in keys["data"].items() if c}
        recipe = check(Tree(self.tree.name, {**keys, "loop": loop, "data": data}))
        stage = Stage(Job(self.tree, self.stores, None), recipe, 0, device=self.device, ranks=ALONE)
        known = stage.decide()
        gc.collect()
        with Live() as live:
            model = make_model(recipe, stage.facts, seed=0)
            trainer = stage.trainer(model, stage.feeds(model, known)[0], None, known, None)
            model.train()
            step = trainer.feed.step(0)
            trainer.take(step)
            live.most = live.now
            trainer.backward(step)
        self.fixed = live.now
        self.parameters, self.length = parameter_count(model), stage.length()
        return live.most

    def measure(self) -> tuple[float, float]:
        """Bytes that grow with the rows, for one; and those that do not."""
        peak, row, rows = self.peak(ROWS[0]), 1.0, ROWS[0]
        for less, more in pairwise(ROWS):
            if peak * more / less > self.most:
                break
            before, last, peak, rows = peak, row, self.peak(more), more
            row = max((peak - before) / (more - less), 1.0)
            if row > 1.0 and abs(row - last) <= ALIKE * row:
                break
        if row == 1.0:  # nothing larger could be tried, or the gradients still hide the activations
            row = max((peak - self.fixed) / rows, 1.0)
        return row, peak - rows * row
