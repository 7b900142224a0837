"""Which of some learning rates suits a model and a question, told on training rows that are then not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from modeledge.core import DataError, keyed
from modeledge.data.readers import Record, Wanted
from modeledge.data.tables import Table
from modeledge.run.finetune import finetune
from modeledge.run.keep import Loaded
from modeledge.run.progress import Silent
from modeledge.run.question import Question, Tuning

MOST = 1000
"""Rows a learning rate is judged on: a tenth of the training rows, but at most so many."""
AWAY = 1_000_003
"""Added to the seeds of trials, so that none of them is a seed that is reported."""


class Share(Table):
    """A part of a table's training rows: those to judge a trial on (`judge`), or the others."""

    def __init__(self, table: Table, *, judge: bool):
        super().__init__(table.path, table.files)
        self.whole, self.judge = table, judge

    def read(self, wanted: Wanted) -> list[Record]:
        rows = self.whole.read(wanted)
        held = min(MOST, len(rows) // 10)
        if not held:
            raise DataError(f"{self.path}: {len(rows)} rows are too few to choose a learning rate on")
        order = keyed("rate", len(rows)).permutation(len(rows))
        chosen = np.sort(order[:held] if self.judge else order[held:])
        return [rows[i] for i in chosen]


def shares(path: str | Path) -> Share:
    """The training rows of a table in two: most of them, with the rest as their held-out rows."""
    table = Table.open(path)
    rest = Share(table, judge=False)
    rest.valid = Share(table, judge=True)
    rest.valid.train = rest
    return rest


def best_rate(
    loaded: Loaded,
    question: Question,
    tuning: Tuning,
    rates: Sequence[float],
    *,
    trials: int = 1,
    device: str = "auto",
) -> tuple[float, dict[float, float]]:
    """(The rate with the best mean over `trials` seeds, the mean of each.) The validation rows are not looked at.

    Raises SystemExit with 128 + the signal if it is stopped by one."""
    asked = replace(question, data=shares(Path(str(question.data))), valid=None)
    seeds = range(AWAY, AWAY + trials)
    found: dict[float, float] = {}
    for rate in rates:
        tried = finetune(loaded, asked, replace(tuning, lr=rate), seeds=seeds, device=device, progress=Silent())
        if tried.exit_code:
            raise SystemExit(tried.exit_code)
        found[rate] = float(np.mean(list(tried.values().values())))
    return max(found, key=lambda rate: found[rate]), found
