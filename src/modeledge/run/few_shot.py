"""How well a causal language model answers rows of a table with examples in its prompt, or none: nothing is trained.

Source: GPT-3, arXiv:2005.14165 §2: the examples are drawn from the training rows and are the same for every question;
options, or the names of the classes, are compared by their likelihood. Not here: the prompts and scores
(in_context.py)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modeledge.core import InputError, build, find, keyed, unknown
from modeledge.data.readers import Record
from modeledge.data.sources._table_forms import flat, options_of
from modeledge.data.tables import Table, open_data
from modeledge.run.in_context import NORMAL, PLAIN, Form, Normal, choose
from modeledge.run.keep import Loaded
from modeledge.run.tasks import known_columns


def few_shot(
    loaded: Loaded,
    data: str | Path,
    *,
    shots: int,
    by: Normal = "length",
    columns: dict[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
    form: Form = PLAIN,
    seed: int = 0,
) -> dict[str, float]:
    """`accuracy`, `chance`, `n` rows, and how many examples there was room for on average (`shots`).

    Judged are the held-out rows (x.valid.* beside x.train.*, else all), with up to `shots` examples from the training
    rows. A column `choices` holds the options; without one the classes are the options, said as `names` has it (class
    -> words). Raises InputError for a model that is not a causal language model, for data without training rows to take
    examples from, and for names of classes that do not occur."""
    if by not in NORMAL:
        raise InputError(unknown(f"--by {by}", "way to compare options", by, NORMAL))
    if shots < 0:
        raise InputError(f"--shots {shots}: zero or more")
    store = open_data(data)
    if not isinstance(store, Table):
        raise InputError(f"{data}: a prepared store has no texts to put into a prompt\n  next: give the table itself")
    if shots and store.valid is None:
        raise InputError(
            f"{data}: there are no held-out rows beside the ones the examples would come from\n"
            "  next: files x.train.* and x.valid.*, or --shots 0"
        )
    asked = Asking(loaded, columns or {}, dict(names or {}))
    judged = asked.rows(store.valid or store)
    drawn = asked.examples(asked.rows(store), shots, seed) if shots else []
    found = choose(
        loaded, [asked.text(r) for r in judged.records], [asked.options(r) for r in judged.records],
        shots=drawn, form=form, by=by,
    )  # fmt: skip
    right = np.array([f.option for f in found]) == judged.label
    chance = np.mean([1 / len(f.scores) for f in found])
    fitted = np.mean([f.shots for f in found])
    return {"accuracy": float(right.mean()), "chance": float(chance), "shots": float(fitted), "n": float(len(found))}


class Asking:
    """How the rows of a table become questions, options and answers."""

    def __init__(self, loaded: Loaded, columns: dict[str, Any], names: dict[str, str]):
        task = "choice" if "choices" in columns else "classify"
        self.loaded, self.names = loaded, names
        keys = {"kind": "table", "form": "choice" if task == "choice" else "text", **known_columns(task, columns)}
        self.config = find("data.sources", "table").Config.model_validate(keys)
        self.classes: list[str] = []

    def rows(self, store: Table) -> Any:
        """The rows of a table with the number of the right option each."""
        source = build("data.sources", self.config, store, self.loaded.facts, "train")
        for name in self.names:
            if name not in source.labels:
                raise InputError(unknown(f"--name {name}={self.names[name]}", "class", name, source.labels))
        self.classes = [self.names[name] if name in self.names else name for name in source.labels]
        return source

    def text(self, record: Record) -> str:
        """The question: the text, and behind it the second one if there are two."""
        return " ".join(flat(record.value[name]) for name in (self.config.text, self.config.second) if name)

    def options(self, record: Record) -> list[str]:
        """What can be answered."""
        return options_of(record, self.config) if self.config.form == "choice" else self.classes

    def examples(self, source: Any, shots: int, seed: int) -> list[tuple[str, str]]:
        """Some rows with their answers, drawn without replacement."""
        some = keyed(seed, "shots").permutation(len(source.records))[:shots]
        return [(self.text(r), self.options(r)[source.label[i]]) for i, r in ((i, source.records[i]) for i in some)]
