"""Ask a trained model: answers for rows of a table or for texts, and how good a model is on labelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modeledge.core import InputError
from modeledge.data.tables import open_data
from modeledge.run.answer import GREEDY, How, Texts, answers, data_of, held_out, judge, rows_for, task_of
from modeledge.run.frozen import look
from modeledge.run.keep import Loaded, load_model
from modeledge.run.tasks import Answers


def predict(
    folder: str | Path | Loaded,
    data: str | Path | None = None,
    *,
    texts: Sequence[str | tuple[str, str] | dict[str, Any]] = (),
    columns: dict[str, Any] | None = None,
    device: str = "auto",
    how: How = GREEDY,
) -> Answers:
    """The answers of a fine-tuned model, one dict a row of `data` (a table) or a text of `texts`.

    A text is a string, a pair, or a dict with the columns the model was taught with. Labels are not needed.
    Raises InputError for a model that was not taught a task and for rows that lack what it reads."""
    loaded = folder if isinstance(folder, Loaded) else load_model(Path(folder))
    config = data_of(loaded)
    if (data is None) == (not texts):
        raise InputError("predict: give a table (--data) or texts, one of the two")
    store: Any = open_data(data) if data is not None else Texts([_row(t, config) for t in texts])
    source = rows_for(loaded, held_out(store), columns=columns, target="none")
    return answers(loaded, source, device=device, how=how)


def _row(text: Any, config: Any) -> dict[str, Any]:
    if isinstance(text, dict):
        return text
    if isinstance(text, str) and config.form == "words":
        text = text.split()
    if isinstance(text, str | list):
        return {config.text: text} | ({config.second: ""} if config.form == "separate" else {})
    return dict(zip((config.text, config.second), text, strict=True))


def evaluate_model(
    folder: str | Path | Loaded,
    data: str | Path,
    *,
    task: str | None = None,
    columns: dict[str, Any] | None = None,
    sets: Sequence[str] = (),
    device: str = "auto",
    how: How = GREEDY,
) -> dict[str, float]:
    """The figures of a model on the rows of a table, or on the held-out part of a store.

    task: none for the task a fine-tuned model was taught; else probe, knn (fitted on the training rows beside the
    held-out ones), zero_shot, retrieval (pictures and texts), links (the missing end of
    triples), names (an entity taken out of its record) or loss (the model's own). sets: overrides of the model's
    recipe, such as the language of the rows.
    Raises DataError for a label that was not there in training, naming file, row and the nearest label."""
    loaded = folder if isinstance(folder, Loaded) else load_model(Path(folder), sets=sets)
    if task is not None:
        return look(loaded, data, task, columns=columns, device=device)
    taught, _ = task_of(loaded.model)
    scored = {"target": "number"} if taught == "embed" and "label" in (columns or {}) else {}
    source = rows_for(loaded, held_out(open_data(data)), columns=columns, **scored)
    return judge(loaded, source, device=device, how=how)
