"""Several models on several questions with the same seeds: does pre-training help, and where?

Every contender chooses its own learning rate on training rows (rates.py); with few labels all get the same rows. Each
finished cell is a line of cells.jsonl, so a contest can be stopped and gone on with; table.md and table.json say what
came out, whichever way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modeledge.analysis.intervals import Interval, difference, interval
from modeledge.data.store import sha256
from modeledge.run.finetune import finetune
from modeledge.run.identity import digest
from modeledge.run.keep import Loaded
from modeledge.run.ledger import Ledger
from modeledge.run.progress import Silent
from modeledge.run.question import Question, Tuning
from modeledge.run.rates import best_rate


@dataclass(frozen=True)
class Contender:
    """A model, how it is taught, and the learning rates it may choose from."""

    name: str
    loaded: Loaded
    tuning: Tuning
    rates: tuple[float, ...]

    def weights(self) -> str:
        """The digest of its weights; for fresh ones that of the recipe."""
        if self.tuning.scratch:
            return digest(self.loaded.recipe.backbone)
        return sha256(self.loaded.path / "model.safetensors")[:12]


@dataclass(frozen=True)
class Contest:
    """Contenders (the first is the one the others are compared with), questions, numbers of labels (None: all)."""

    contenders: Sequence[Contender]
    questions: Sequence[Question]
    out: Path
    labels: Sequence[int | None] = (None,)
    seeds: int = 5
    trials: int = 1
    device: str = "auto"

    def run(self, say: Callable[[str], None] = print) -> dict[str, Any]:
        """Do what is not done yet; returns the table."""
        ledger = Ledger(self.out / "cells.jsonl")
        for few in self.labels:
            for question in self.questions:
                for contender in self.contenders:
                    self.cell(ledger, contender, question, few, say)
                self.write(ledger)
        return self.write(ledger)

    def cell(
        self, ledger: Ledger, who: Contender, question: Question, few: int | None, say: Callable[[str], None]
    ) -> None:
        """One contender on one question: choose its rate, then every seed."""
        key = self.key(who, question, few)
        missing = [s for s in range(self.seeds) if ledger.find(**key, seed=s) is None]
        if not missing:
            return
        tuning = replace(who.tuning, labels=few)
        chosen = ledger.find(**key, seed="rate")
        if chosen is None:
            trials = self.trials if few is None else max(self.trials, 3)
            rate, tried = best_rate(who.loaded, question, tuning, who.rates, trials=trials, device=self.device)
            chosen = ledger.add({"rate": rate, "tried": {str(r): v for r, v in tried.items()}}, **key, seed="rate")
        tuning = replace(tuning, lr=chosen["rate"])
        for seed in missing:
            begun = time.perf_counter()
            tuned = finetune(who.loaded, question, tuning, seeds=[seed], device=self.device, progress=Silent())
            if tuned.exit_code:
                raise SystemExit(tuned.exit_code)
            seconds = round(time.perf_counter() - begun, 1)
            record = {"value": tuned.values()[seed], "metric": tuned.metric, "figures": tuned.figures[seed]}
            ledger.add({**record, "steps": tuned.settings["steps"], "seconds": seconds}, **key, seed=seed)
            shown = "all" if few is None else few
            say(f"{key['question']} {shown} labels  {who.name}  seed {seed}: {record['value']:.4f}  ({seconds} s)")

    def key(self, who: Contender, question: Question, few: int | None) -> dict[str, Any]:
        """What a cell goes by: another model, question or way of teaching is another cell."""
        how = digest(who.weights(), who.tuning, who.rates, question)
        return {"question": question.name or question.task, "labels": few, "who": who.name, "how": how}

    # -- what came out ------------------------------------------------------------------------------------------------

    def values(self, ledger: Ledger, who: Contender, question: Question, few: int | None) -> dict[int, float]:
        """Values by seed of one contender on one question, as far as they are known."""
        key = self.key(who, question, few)
        found = {s: ledger.find(**key, seed=s) for s in range(self.seeds)}
        return {s: r["value"] for s, r in found.items() if r is not None}

    def rows(self, ledger: Ledger) -> list[dict[str, Any]]:
        """One row a question and number of labels: every contender's interval and its difference from the first."""
        rows = []
        for few in self.labels:
            for question in self.questions:
                known = {w.name: self.values(ledger, w, question, few) for w in self.contenders}
                if not all(known.values()):
                    continue
                first = next(iter(known.values()))
                rows.append(
                    {
                        "question": question.name or question.task,
                        "metric": question.metric,
                        "labels": few,
                        "values": known,
                        "mean": {n: interval(list(v.values())) for n, v in known.items()},
                        "gain": {n: difference(first, v) for n, v in list(known.items())[1:]},
                    }
                )
        return rows

    def write(self, ledger: Ledger) -> dict[str, Any]:
        """table.md and table.json from what is done so far."""
        rows = self.rows(ledger)
        names = [w.name for w in self.contenders]
        (self.out / "table.md").write_text(markdown(rows, names), encoding="utf-8")
        told = [{**row, **{k: {n: i.as_dict() for n, i in row[k].items()} for k in ("mean", "gain")}} for row in rows]
        table = {"contenders": {w.name: w.weights() for w in self.contenders}, "seeds": self.seeds, "rows": told}
        (self.out / "table.json").write_text(json.dumps(table, indent=1, default=str), encoding="utf-8")
        return table


def markdown(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """The table for reading: means with 95 % intervals; gains over the first contender, bold where they are sure."""
    head = ["question", "metric", "labels", *names, *(f"{n} - {names[0]}" for n in names[1:])]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        cells = [row["question"], row["metric"], "all" if row["labels"] is None else str(row["labels"])]
        cells += [percent(row["mean"][n]) for n in names]
        cells += [percent(row["gain"][n], sign=True) for n in names[1:]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def percent(found: Interval, *, sign: bool = False) -> str:
    """A mean and its half-width in points of 100."""
    mean = f"{100 * found.mean:+.1f}" if sign else f"{100 * found.mean:.1f}"
    text = mean if found.n < 2 else f"{mean} ± {100 * found.half:.1f}"
    return f"**{text}**" if sign and found.sure else text
