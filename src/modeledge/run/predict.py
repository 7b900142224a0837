"""Ask a trained model: answers for rows of a table or for texts, and how good a model is on labelled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeledge.core import InputError
from modeledge.data.sources.blocks import Blocks
from modeledge.data.store import Store
from modeledge.engine.device import choose_device
from modeledge.run.answer import GREEDY, How, Texts, answers, data_of, held_out, judge, open_for, rows_for, task_of
from modeledge.run.few_shot import few_shot
from modeledge.run.frozen import look
from modeledge.run.in_context import Normal
from modeledge.run.keep import Loaded, load_model
from modeledge.run.mark import mark_texts, plain_texts
from modeledge.run.recall import remember
from modeledge.run.tasks import Answers


@dataclass(frozen=True)
class Shots:
    """How a causal language model is asked by examples: so many of them; what answers are compared by (likelihood a
    token, in total, or against that without the question); what classes are called in prompts."""

    number: int
    by: Normal = "length"
    names: Mapping[str, str] = field(default_factory=dict)


def predict(
    folder: str | Path | Loaded,
    data: str | Path | None = None,
    *,
    texts: Sequence[str | tuple[str, str] | dict[str, Any]] = (),
    task: str | None = None,
    columns: dict[str, Any] | None = None,
    device: str = "auto",
    how: How = GREEDY,
) -> Answers:
    """The answers of a fine-tuned model, one dict a row of `data` (a table) or a text of `texts`.

    A text is a string, a pair, or a dict with the columns the model was taught with. Labels are not needed. `task`:
    which one, of a model that was taught several (by the name of its objective). A model that tags words is given
    lists of them, and answers with a tag each, or texts, and answers with what it found where.
    Raises InputError for a model that was not taught a task and for rows that lack what it reads."""
    loaded = folder if isinstance(folder, Loaded) else load_model(Path(folder))
    _, config = data_of(loaded, task)
    if (data is None) == (not texts):
        raise InputError("predict: give a table (--data) or texts, one of the two")
    store: Any = open_for(loaded, data) if data is not None else Texts([_row(t, config) for t in texts])
    if getattr(config, "form", "") == "words" and not isinstance(store, Store):
        plain = plain_texts(loaded, store, task=task, columns=columns)
        if plain:
            return mark_texts(loaded, plain, task=task, device=device)
    rows = rows_for(loaded, held_out(store), task=task, columns=columns, target="none")
    return answers(loaded, shown(loaded, rows, device), task=task, device=device, how=how)


def shown(loaded: Loaded, source: Any, device: str) -> Any:
    """The source itself; one of long texts shows what the model's judge picks."""
    if isinstance(source, Blocks):
        remember(loaded, source, device=choose_device(device))
    return source


def _row(text: Any, config: Any) -> dict[str, Any]:
    if isinstance(text, dict):
        return text
    if isinstance(text, str | list):
        return {config.text: text} | ({config.second: ""} if getattr(config, "form", "") == "separate" else {})
    return dict(zip((config.text, config.second), text, strict=True))


def evaluate_model(
    folder: str | Path | Loaded,
    data: str | Path,
    *,
    task: str | None = None,
    shots: Shots | None = None,
    columns: dict[str, Any] | None = None,
    sets: Sequence[str] = (),
    device: str = "auto",
    how: How = GREEDY,
) -> dict[str, float]:
    """The figures of a model on the rows of a table, or on the held-out part of a store.

    task: none for the task a fine-tuned model was taught, its name if there were several; else probe, knn (fitted on
    the training rows beside the held-out ones), zero_shot, retrieval (pictures and texts, or queries and passages),
    links (the missing end of triples), names (an entity taken out of its record) or loss (the model's own). shots:
    instead of a task, ask a causal language model by examples. sets: overrides of the model's recipe, such as the
    language of the rows.
    Raises DataError for a label that was not there in training, naming file, row and the nearest label."""
    loaded = folder if isinstance(folder, Loaded) else load_model(Path(folder), sets=sets)
    if shots is not None and task is not None:
        raise InputError(f"--task {task}: with --shots the rows say what is asked\n  next: leave out one of the two")
    if shots is not None:
        return few_shot(loaded, data, shots=shots.number, by=shots.by, columns=columns, names=shots.names)
    if task is not None and task not in loaded.model.objectives:
        return look(loaded, data, task, columns=columns, device=device)
    taught, _ = task_of(loaded.model, task)
    scored = {"target": "number"} if taught == "embed" and "label" in (columns or {}) else {}
    rows = rows_for(loaded, held_out(open_for(loaded, data)), task=task, columns=columns, **scored)
    return judge(loaded, shown(loaded, rows, device), task=task, device=device, how=how)
