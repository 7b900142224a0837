"""Teach a pre-trained model a task: the saved recipe with other data, another objective and a short schedule, in the
same loop; several seeds give a mean and an interval.

What is asked and how it is taught: question.py; how both become a recipe: setting.py; judging alone: predict.py."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeledge.analysis.intervals import Interval, interval
from modeledge.core import InputError
from modeledge.run.keep import Loaded, load_model
from modeledge.run.ledger import Ledger
from modeledge.run.long import LongTexts
from modeledge.run.multi_hop import MultiHop
from modeledge.run.pictures import Pictures
from modeledge.run.progress import Progress, make_progress
from modeledge.run.question import PLAIN, Question, Tuning
from modeledge.run.setting import Setting

__all__ = ["Question", "Tuned", "Tuning", "finetune"]

SETTINGS: dict[str, type[Setting]] = {"image_label": Pictures, "hops": MultiHop}
"""Tasks whose data or models are of a kind of their own."""
SEEDS = "seeds.jsonl"
"""The figures of the seeds that are done, in the folder given as `out`."""


@dataclass
class Tuned:
    """What fine-tuning came to: figures on the validation rows by seed (empty without such rows), where it lies, the
    exit code (0, or 128 + the signal that stopped a run), and which seeds were asked for."""

    question: Question
    metric: str
    figures: dict[int, dict[str, float]]
    out: Path | None
    settings: dict[str, Any]
    exit_code: int = 0
    asked: Sequence[int] = (0,)

    def intervals(self) -> dict[str, Interval]:
        """Mean and 95 % interval of each figure over the seeds."""
        names = next(iter(self.figures.values()), {})
        return {n: interval([f[n] for f in self.figures.values()]) for n in names}

    def values(self) -> dict[int, float]:
        """The figure the question is known by, by seed (the first one where it has none of that name)."""
        return {seed: f.get(self.metric, next(iter(f.values()))) for seed, f in self.figures.items()}

    def as_dict(self) -> dict[str, Any]:
        """For --json and results.json."""
        means = {n: i.as_dict() for n, i in self.intervals().items()}
        asked = {"task": self.question.task, "data": str(self.question.data)}
        where = {"out": str(self.out) if self.out else None}
        return {
            **asked,
            "metric": self.metric,
            "mean": means,
            "seeds": self.figures,
            "settings": self.settings,
            **where,
        }

    def __str__(self) -> str:
        seeds = len(self.figures or self.asked)
        lines = [f"{self.question.task} on {self.question.data}: {seeds} seed{'s' * (seeds > 1)}"]
        lines += [f"  {name}: {found}" for name, found in self.intervals().items()]
        if self.exit_code:
            lines += ["stopped" + ("" if self.out is None else "; next: the same command with --resume")]
            return "\n".join(lines)
        if not self.figures:
            lines += ["  no validation rows: nothing was judged"]
        if self.out is not None:
            first = self.out if len(self.asked) < 2 else self.out / f"seed-{self.asked[0]}"
            lines += [f"model: {first / 'model'}"]
        return "\n".join(lines)


def finetune(
    folder: str | Path | Loaded,
    question: Question,
    tuning: Tuning = PLAIN,
    *,
    seeds: int | Iterable[int] = 1,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
    quiet: bool = False,
) -> Tuned:
    """Fine-tune the model in `folder` on `question`, once a seed, and judge it on the validation rows.

    With `out`, each seed leaves a run folder (out itself, or out/seed-N) with a model that `evaluate_model` and
    `predict` open, and results.json; seeds.jsonl has the figures of those that are done. With `resume` they are not
    taught again, and the one that was stopped goes on. Raises InputError before the first step for anything wrong with
    the input."""
    loaded = folder if isinstance(folder, Loaded) else load_model(Path(folder))
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers:
        raise InputError("--seeds 0: at least one")
    progress = progress or make_progress(quiet=quiet)
    make = LongTexts if question.long == "recall" else SETTINGS.get(question.task, Setting)
    setting = make(loaded, question, tuning, say=progress.say)
    home = Path(out) if out is not None else None
    tuned = Tuned(question, question.metric or setting.kind.metric, {}, home, setting.told(), asked=numbers)
    for seed in numbers:
        place = home if home is None or len(numbers) == 1 else home / f"seed-{seed}"
        key = {"seed": seed, "how": setting.identity(seed)} if home else {}
        known = Ledger(home / SEEDS).find(**key) if home and place and resume and (place / "model").is_dir() else None
        if known is None:
            done = setting.train(seed, place, device=device, progress=progress, resume=resume)
            tuned.exit_code = done.result.exit_code
            if tuned.exit_code:
                break
            found = {} if setting.valid is None else setting.judge(done, device=device)
            known = Ledger(home / SEEDS).add({"figures": found}, **key) if home else {"figures": found}
        if known["figures"]:
            tuned.figures[seed] = known["figures"]
            progress.say(f"seed {seed}: " + "  ".join(f"{k} {v:.4f}" for k, v in known["figures"].items()))
    if home is not None:
        (home / "results.json").write_text(json.dumps(tuned.as_dict(), indent=1, default=str))
    return tuned
