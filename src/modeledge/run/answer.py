"""From a trained model and rows to answers, and from answers to figures.

Not here: what an answer is for each task (tasks.py), the verbs (predict.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modeledge.core import Batch, DataError, InputError, build, find, keyed
from modeledge.data.readers import Record, Wanted
from modeledge.data.sources.table import LabelledTable
from modeledge.data.store import Store
from modeledge.data.tables import Table, open_data
from modeledge.engine.device import choose_device
from modeledge.objectives import Objective
from modeledge.objectives.blank_target import BlankTarget
from modeledge.objectives.seq2seq import Seq2Seq
from modeledge.run.generate import generate
from modeledge.run.identity import refuse_other_ids
from modeledge.run.keep import Loaded
from modeledge.run.model import Model
from modeledge.run.search import Beam, Greedy, Sample
from modeledge.run.stage import Done
from modeledge.run.tasks import ROLES, TASKS, Answers, Kind, known_columns

How = Greedy | Sample | Beam
GREEDY = Greedy()
ROWS = 64
"""Rows in one forward pass."""
WRITES = ("seq2seq", "complete", "mask_target", "blank_target")


class Texts:
    """Texts given directly, where a table is expected."""

    valid = train = None
    path = Path("(the texts given)")

    def __init__(self, rows: Sequence[dict[str, Any]]):
        self.rows = list(rows)

    def part(self, split: str) -> Texts:
        """Itself."""
        return self

    def read(self, wanted: Wanted) -> list[Record]:
        """Every row. Raises DataError if one lacks what the task reads."""
        if not self.rows:
            raise DataError("no texts were given")
        for number, row in enumerate(self.rows, start=1):
            for name in wanted.columns:
                if name not in row and name not in wanted.optional:
                    raise DataError(f"text {number}: {name!r} is missing; it has {', '.join(row)}")
        return [Record(row, str(self.path), number) for number, row in enumerate(self.rows, start=1)]


def task_of(model: Model, asked: str | None = None) -> tuple[str, str]:
    """The task a fine-tuned model answers, and its objective's name: the first, or that of the name `asked`.

    Raises InputError for one that was not taught."""
    by_objective = {kind.objective: name for name, kind in TASKS.items()} | dict.fromkeys(WRITES, "text_to_text")
    for name, objective in model.each():
        if objective.config.kind in by_objective and asked in (None, name):
            return by_objective[objective.config.kind], name
    raise InputError(
        "this model was pre-trained and not taught a task yet\n"
        "  next: modeledge finetune FOLDER --task classify --data FILE"
    )


def data_of(loaded: Loaded, asked: str | None = None) -> tuple[str, Any]:
    """The data a model was taught a task with: its name and settings. Raises InputError for a model that was not."""
    objective: Any = loaded.model.objectives[task_of(loaded.model, asked)[1]]
    name = objective.config.on or next(iter(loaded.recipe.data))
    return name, loaded.recipe.data[name]


def numbered(loaded: Loaded, config: Any, name: str) -> Any:
    """The settings of the source `name`, its classes numbered as the model was taught them."""
    if getattr(config, "labels", ()) is not None:  # it says so itself, or knows no classes
        return config
    labels = loaded.facts.labels
    known = labels.get(name) or (None if getattr(config, "form", "") == "choice" else labels.get("label"))
    return config.model_copy(update={"labels": tuple(known)}) if known else config


def rows_for(
    loaded: Loaded, store: Any, *, task: str | None = None, columns: dict[str, Any] | None = None, **changes: Any
) -> Any:
    """Rows of a table (or pictures of a store) in the form the model was taught, its classes numbered as then."""
    name, config = data_of(loaded, task)
    kind = find("data.sources", config.kind)
    if kind.reads not in ("table", "images"):
        return build("data.sources", config, store, loaded.facts, "train")
    keys = numbered(loaded, config, name).model_dump()
    if kind.reads == "table":
        known = {k: v for k in ROLES if (v := getattr(config, k, None))}
        keys |= known_columns(task_of(loaded.model, task)[0], known | (columns or {})) | {"limit": None}
        require_entities(loaded, keys)
    return kind(kind.Config.model_validate(keys | changes), store, loaded.facts, "train")


def require_entities(loaded: Loaded, columns: Mapping[str, Any]) -> None:
    """Raise InputError if entities are to be marked for a model that does not read them."""
    if columns.get("entities") and not hasattr(loaded.model.backbone, "entity"):
        raise InputError(
            f"{loaded.path}: --entities: this model reads no entities\n  next: leave it out, or a model from a recipe "
            "like ernie_thu"
        )


def open_for(loaded: Loaded, data: str | Path, *, valid: str | Path | None = None) -> Store | Table:
    """The data at a path, to be read by a model. Raises InputError for a store whose ids are not the model's."""
    found = open_data(data, valid=valid)
    for part in (found, found.valid):
        refuse_other_ids(part, loaded.facts.tokenizer, loaded.path)
    return found


def held_out(store: Any) -> Any:
    """What is judged on: the rows of a table, of a store the part that was held out if there is one."""
    return store.valid if isinstance(store, Store) and store.valid is not None else store


@torch.no_grad()
def outputs(
    model: Model,
    objective: Objective,
    source: Any,
    *,
    device: torch.device,
    how: How = GREEDY,
    limit: int | None = None,
) -> list[np.ndarray]:
    """What the model says of each row of the source, in its order and in fp32; rows of like length share a pass."""
    model.to(device).eval()
    order = np.arange(len(source))
    if isinstance(source, LabelledTable):
        order = np.argsort(-source.table.sizes.reshape(len(source), -1).max(1), kind="stable")
    found: list[np.ndarray] = [np.zeros(0)] * len(source)
    for first in range(0, len(source), ROWS):
        index = order[first : first + ROWS]
        rng = keyed("predict", first)
        batch = source.rows(index, rng)
        if objective.config.kind in WRITES:
            said = write(model, objective, batch, device=device, how=how, limit=limit or source.config.length)
        else:
            tensors = objective.finish(objective.view(batch, rng)).tensors(device)
            said = objective.predict(objective.run(model.backbone, tensors), tensors)  # type: ignore[operator]
        rows = said.float() if said.is_floating_point() else said
        for place, row in zip(index, rows.cpu().numpy(), strict=True):
            found[place] = row
    return found


def write(model: Model, objective: Objective, batch: Batch, *, device: torch.device, how: How, limit: int) -> Tensor:
    """Texts that answer the rows: b n ids."""
    fields = {k: v for k, v in batch.items() if k in ("ids", "valid")}
    if objective.config.kind == "complete" and "valid" in fields:  # a prompt ends where writing begins
        valid = np.sort(fields["valid"], axis=1)
        moved = np.argsort(fields["valid"], axis=1, kind="stable")
        fields = {"ids": np.take_along_axis(fields["ids"], moved, 1), "valid": valid}
    if isinstance(objective, Seq2Seq | BlankTarget):
        fields = objective.told(Batch(fields))
    rng = torch.Generator(device=device).manual_seed(0)
    return generate(model.backbone, objective, Batch(fields).tensors(device), how, limit=limit, rng=rng)


def answers(
    loaded: Loaded | Done, source: Any, *, task: str | None = None, device: str = "auto", how: How = GREEDY
) -> Answers:
    """One answer a record of the source, to the task of that name (default: the first)."""
    model = loaded.model
    task, name = task_of(model, task)
    objective: Objective = model.objectives[name]  # type: ignore[assignment]
    kind, place = TASKS[task], choose_device(device)
    if kind.ask is not None:
        return kind.ask(model, objective, source, device=place)
    assert kind.read is not None, "a task reads or asks"
    return kind.read(outputs(model, objective, source, device=place, how=how), source)


def judge(
    loaded: Loaded | Done, source: Any, *, task: str | None = None, device: str = "auto", how: How = GREEDY
) -> dict[str, float]:
    """How good the answers to a source are."""
    kind: Kind = TASKS[task_of(loaded.model, task)[0]]
    return kind.judge(answers(loaded, source, task=task, device=device, how=how), source)
