"""Teach a pre-trained model a task: the saved recipe with other data, another objective and a short schedule, in the
same loop; several seeds give a mean and an interval.

Sources: BERT, arXiv:1810.04805 §4 and appendix A.3; GPT (2018) §3.2-3.3 (the language model as an auxiliary loss);
features of a frozen model, ELMo, arXiv:1802.05365 §3.2. What the tasks are: tasks.py; judging alone: predict.py."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from modeledge.analysis.intervals import Interval, interval
from modeledge.core import Facts, InputError, find
from modeledge.data.sources.table import LabelledTable
from modeledge.data.store import Store
from modeledge.data.tables import Table, open_data
from modeledge.recipe.resolve import Tree, override
from modeledge.recipe.schema import Recipe, check
from modeledge.run.checkpoint import own_tensors
from modeledge.run.forms import check_length, framed_facts, grown, has_decoder, is_causal, reading, weights_of
from modeledge.run.job import Job, run_job
from modeledge.run.keep import Loaded, load_model
from modeledge.run.model import make_model
from modeledge.run.predict import judge
from modeledge.run.progress import Progress, make_progress
from modeledge.run.tasks import known_columns, task_kind

SOURCE = "task"
"""What the task's data is called in the recipe of a fine-tuned model."""


@dataclass(frozen=True)
class Question:
    """A task and its data: a csv, tsv, jsonl or parquet file, a `datasets` folder, or a prepared store.

    task     classify, regress, tag, span_qa, choice, embed, text_to_text
    valid    rows to judge on (default: those that lie beside the training file, x.valid.* beside x.train.*)
    columns  role -> column: text, second, label, choices (several columns, or one with a list)
    length   tokens a row (default: the task's own, at most what the model has places for)
    orders   both: a pair whose order means nothing is read in both (GPT's similarity)
    name     what it is called in tables (default: the task)"""

    task: str
    data: str | Path
    valid: str | Path | None = None
    columns: dict[str, str | Sequence[str]] | None = None
    length: int | None = None
    orders: Literal["given", "both"] = "given"
    name: str = ""


@dataclass(frozen=True)
class Tuning:
    """How a model is taught.

    epochs     passes over the rows, but at most `most` steps (0: no bound) and at least `least`
    batch      rows a step, at most as many as there are
    lr         peak learning rate (default: 5e-5 at width 768, more for narrower models, 1e-3 for a head alone)
    train      the whole model, or only the head on frozen features; mix: of all layers, by learned weights (ELMo)
    auxiliary  weight of the pre-training language model beside the task (GPT: 0.5)
    labels     only so many training rows, a plain sample drawn with the seed: the same rows for every model
    scratch    begin with fresh weights of the same shape
    sets       overrides of the resulting recipe, e.g. optim.weight_decay=0"""

    epochs: float = 3.0
    most: int = 0
    least: int = 0
    batch: int = 32
    lr: float | None = None
    train: Literal["all", "head"] = "all"
    mix: bool = False
    auxiliary: float = 0.0
    labels: int | None = None
    scratch: bool = False
    sets: tuple[str, ...] = ()


PLAIN = Tuning()


@dataclass
class Tuned:
    """What fine-tuning came to: figures on the validation rows by seed (empty without such rows), where it lies, the
    exit code (0, or 128 + the signal that stopped a run)."""

    question: Question
    metric: str
    figures: dict[int, dict[str, float]]
    out: Path | None
    settings: dict[str, Any]
    exit_code: int = 0

    def intervals(self) -> dict[str, Interval]:
        """Mean and 95 % interval of each figure over the seeds."""
        names = next(iter(self.figures.values()), {})
        return {n: interval([f[n] for f in self.figures.values()]) for n in names}

    def values(self) -> dict[int, float]:
        """The task's own figure by seed."""
        return {seed: f.get(self.metric, f.get("accuracy", float("nan"))) for seed, f in self.figures.items()}

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
        seeds = len(self.figures)
        lines = [f"{self.question.task} on {self.question.data}: {seeds or 1} seed{'s' * (seeds > 1)}"]
        lines += [f"  {name}: {found}" for name, found in self.intervals().items()]
        if not self.figures:
            lines += ["  no validation rows: nothing was judged"]
        if self.out is not None:
            first = self.out if seeds < 2 else self.out / f"seed-{min(self.figures)}"
            lines += [f"model: {first / 'model'}"]
        return "\n".join(lines)


def finetune(
    folder: str | Path | Loaded,
    question: Question,
    tuning: Tuning = PLAIN,
    *,
    seeds: int | Iterable[int] = 1,
    out: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    quiet: bool = False,
) -> Tuned:
    """Fine-tune the model in `folder` on `question`, once a seed, and judge it on the validation rows.

    With `out`, each seed leaves a run folder (out itself, or out/seed-N) with a model that `evaluate_model` and
    `predict` open, and results.json. Raises InputError before the first step for anything wrong with the input."""
    loaded = folder if isinstance(folder, Loaded) else load_model(Path(folder))
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers:
        raise InputError("--seeds 0: at least one")
    progress = progress or make_progress(quiet=quiet)
    setting = Setting(loaded, question, tuning, say=progress.say)
    home = Path(out) if out is not None else None
    tuned = Tuned(question, task_kind(question.task).metric, {}, home, setting.told())
    for seed in numbers:
        place = home if home is None or len(numbers) == 1 else home / f"seed-{seed}"
        done = run_job(setting.job(seed, place, device=device, progress=progress))
        tuned.exit_code = done.result.exit_code
        if done.result.stopped == "signal":
            break
        if setting.valid is not None:
            tuned.figures[seed] = judge(done, setting.valid, device=device)
            shown = "  ".join(f"{k} {v:.4f}" for k, v in tuned.figures[seed].items())
            progress.say(f"seed {seed}: {shown}")
    if home is not None:
        (home / "results.json").write_text(json.dumps(tuned.as_dict(), indent=1, default=str))
    return tuned


class Setting:
    """A model and a question brought together once for all seeds: data read and checked, and the recipe."""

    def __init__(self, loaded: Loaded, question: Question, tuning: Tuning, *, say: Any):
        self.loaded, self.question, self.tuning = loaded, question, tuning
        self.kind = task_kind(question.task)
        self.columns = known_columns(question.task, question.columns)
        self.facts = framed_facts(loaded)
        if self.facts.tokenizer is None:
            raise InputError(
                f"{loaded.path}: this model reads no text; for pictures use --task probe, knn or zero_shot"
            )
        self.store = open_data(question.data, valid=question.valid)
        held = self.store.valid
        self.source = self.read(self.store, self.data_keys())
        keys = self.data_keys() | ({"labels": self.source.labels} if self.source.labels else {})
        self.keys: dict[str, Any] = keys
        self.facts = replace(self.facts, labels={"label": self.source.labels} if self.source.labels else {})
        judged = keys | ({"target": "number"} if self.scored(held) else {})
        self.valid = None if held is None else self.read(held, judged)
        self.tell(say)

    def read(self, store: Table | Store, keys: dict[str, Any], **more: Any) -> LabelledTable:
        """The rows of a table in the model's form."""
        config = find("data.sources", "table").Config.model_validate(keys | more)
        return LabelledTable(config, store, self.facts, "train")

    def scored(self, store: Table | Store | None) -> bool:
        """Whether pairs of texts come with a score to be judged by."""
        return self.question.task == "embed" and store is not None and "label" in self.columns

    def data_keys(self) -> dict[str, Any]:
        """The recipe's data, but for the sample of a seed."""
        form = self.kind.form
        if self.question.orders == "both":
            if form != "text" or "second" not in self.columns:
                raise InputError("--orders both: for classify and regress on pairs (--column second=COLUMN)")
            form = "both"
        length = check_length(self.loaded.recipe, self.question.length, self.kind.length)
        target = "none" if self.question.task == "embed" else self.kind.target
        return {"kind": "table", "form": form, "target": target, "length": length, **self.columns}

    def tell(self, say: Any) -> None:
        """Say how many rows there are and how many were too long."""
        for what, source in (("training", self.source), ("validation", self.valid)):
            if source is not None:
                rows = len(source.records)
                cut = f", {source.truncated} of them cut to {source.config.length} tokens" if source.truncated else ""
                say(f"{what}: {rows} rows{cut}")

    # -- the recipe ---------------------------------------------------------------------------------------------------

    def rows(self) -> int:
        """Rows of tokens a seed trains on."""
        some = self.tuning.labels
        if some is None or some >= len(self.source.records):
            return len(self.source)
        return int((self.source.owner < some).sum())  # about; exact where a record is one row

    def steps(self) -> int:
        """Optimizer steps: the epochs, within the bounds."""
        t = self.tuning
        steps = max(round(t.epochs * self.rows() / self.batch()), t.least, 1)
        return min(steps, t.most) if t.most else steps

    def batch(self) -> int:
        """Rows a step."""
        return min(self.tuning.batch, self.rows())

    def lr(self) -> float:
        """The peak learning rate."""
        if self.tuning.lr is not None:
            return self.tuning.lr
        return 1e-3 if self.tuning.train == "head" else 5e-5 * 768 / self.loaded.model.backbone.width  # type: ignore

    def written(self) -> tuple[str, dict[str, Any], dict[str, str]]:
        """For tasks answered in text: the objective's kind, the settings it takes over, whose weights it goes on with.

        Raises InputError for a model that does not write."""
        recipe = self.loaded.recipe
        kind = "seq2seq" if has_decoder(recipe) else "complete" if is_causal(recipe) else None
        if kind is None:
            raise InputError(
                f"--task text_to_text: {self.loaded.path} neither decodes nor reads from left to right\n"
                "  next: a model pre-trained from a recipe like t5 or gpt2"
            )
        own = recipe.objectives[0]
        fields = find("objectives", kind).Config.model_fields
        kept = {k: v for k, v in own.model_dump().items() if k in fields and k not in ("kind", "name", "on", "weight")}
        return kind, kept, {own.name or own.kind: kind}  # type: ignore[attr-defined]

    def objective(self) -> dict[str, Any]:
        """The task's objective."""
        t = self.tuning
        if self.question.task == "text_to_text":
            kind, kept, _ = self.written()
            return {"kind": kind, **kept}
        keys: dict[str, Any] = {
            "kind": self.kind.objective,
            **reading(self.loaded, self.question.task),
            "train": t.train,
        }
        if t.mix:
            if t.train != "head":
                raise InputError("--mix: the layers are mixed into features; add --train head")
            keys |= {"mix": {"kind": "scalar_mix"}}
            if "pool" not in keys and self.question.task not in ("tag", "span_qa", "embed"):
                keys |= {"pool": "cls"}
        if self.question.task == "regress" and self.source.label is not None:
            mean, deviation = float(self.source.label.mean()), float(self.source.label.std())
            keys |= {"center": mean, "scale": deviation or 1.0}
        return keys

    def auxiliary(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The pre-training language model as a second objective, and the data it reads if not the task's own.

        Raises InputError for a model that is not causal."""
        if not self.tuning.auxiliary:
            return [], {}
        if not is_causal(self.loaded.recipe) or self.question.task == "text_to_text":
            raise InputError(
                f"--auxiliary {self.tuning.auxiliary}: the auxiliary loss is a causal language model's (GPT)\n"
                "  next: leave it out"
            )
        saved = self.loaded.tree.keys["objectives"][0]
        keys = {"kind": saved} if isinstance(saved, str) else dict(saved)
        keys |= {"weight": self.tuning.auxiliary, "on": SOURCE}
        if self.keys["form"] in ("text", "words"):
            return [keys], {}
        second = {k: v for k, v in self.keys.items() if k in ("kind", "length", "text", "second")}
        return [keys | {"on": "texts"}], {"texts": {**second, "form": "text", "target": "none"}}

    def tree(self, seed: int) -> Tree:
        """The recipe of one seed."""
        t, old = self.tuning, self.loaded.tree.keys
        sample = {"limit": t.labels, "seed": seed} if t.labels is not None else {}
        more, data = self.auxiliary()
        keys: dict[str, Any] = {k: old[k] for k in ("family", "source", "tokenizer", "backbone") if k in old}
        keys |= {
            "data": {SOURCE: self.keys | sample, **{n: d | sample for n, d in data.items()}},
            "objectives": [self.objective(), *more],
            "optim": {"kind": "adamw", "lr": self.lr(), "weight_decay": 0.01},
            "schedule": {"kind": "linear", "warmup": 0.1},
            "loop": {"steps": self.steps(), "batch": self.batch(), "seed": seed, "clip": 1.0},
        }
        for text in t.sets:
            keys = override(keys, text, {})
        return Tree(self.loaded.tree.name, keys)

    def job(self, seed: int, out: Path | None, *, device: str, progress: Progress) -> Job:
        """One seed's training."""
        tree = self.tree(seed)
        recipe = check(tree)
        stores: dict[str, Any] = {n: self.bare(recipe) for n in recipe.data}
        history = {"task": self.told(), "pre-training": self.loaded.history.get("training", {})}
        weights = None if self.tuning.scratch else self.weights(recipe, self.facts)
        facts = replace(self.facts)
        return Job(tree, stores, out, None, weights, facts, device, progress=progress, history=history)

    def bare(self, recipe: Recipe) -> Table | Store:
        """The training rows; with those to judge on only where the loop asks for them on the way."""
        if recipe.loop.evaluate.every or not isinstance(self.store, Table):
            return self.store
        return Table(self.store.path, self.store.files)

    def weights(self, recipe: Recipe, facts: Facts) -> dict[str, torch.Tensor]:
        """What the model brings along, with rows for new tokens."""
        renamed = self.written()[2] if self.question.task == "text_to_text" else {}
        weights = weights_of(self.loaded, renamed=renamed)
        if facts.vocab == self.loaded.facts.vocab:
            return weights
        return grown(weights, own_tensors(make_model(recipe, facts, seed=recipe.loop.seed)))

    def told(self) -> dict[str, Any]:
        """What a model card and results.json say about how it was taught."""
        asked = {k: v for k, v in asdict(self.question).items() if v not in (None, "")}
        taught = {k: v for k, v in asdict(self.tuning).items() if v not in (None, False, 0, 0.0, ())}
        taught |= {"lr": self.lr(), "steps": self.steps(), "rows": self.rows(), "model": self.loaded.path}
        return {k: str(v) if isinstance(v, Path) else v for k, v in (asked | taught).items()}
