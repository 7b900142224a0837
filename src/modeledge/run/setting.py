"""A model and a question brought together: the data read and checked, the recipe of each seed.

Sources: BERT, arXiv:1810.04805 §4 and appendix A.3; GPT (2018) §3.2-3.3 (the language model as an auxiliary loss);
features of a frozen model, ELMo, arXiv:1802.05365 §3.2. Not here: pictures (pictures.py)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from modeledge.core import Facts, InputError, build, find
from modeledge.data.store import Store
from modeledge.data.tables import Table
from modeledge.recipe.resolve import Tree, override
from modeledge.recipe.schema import Recipe, check
from modeledge.run.answer import judge, open_for, require_entities
from modeledge.run.checkpoint import own_tensors
from modeledge.run.folder import RunFolder
from modeledge.run.forms import (
    TOKENWISE,
    check_length,
    framed_facts,
    grown,
    has_decoder,
    is_causal,
    reading,
    reads_text,
    weights_of,
    writing,
)
from modeledge.run.identity import data_identity, digest, weights_identity
from modeledge.run.job import run_job
from modeledge.run.keep import Loaded
from modeledge.run.model import make_model
from modeledge.run.progress import Progress
from modeledge.run.question import Question, Tuning
from modeledge.run.stage import Done, Job
from modeledge.run.tasks import JUDGE, known_columns, task_kind

SOURCE = "task"
"""What the task's data is called in the recipe of a fine-tuned model."""


class Setting:
    """A model and a question brought together once for all seeds: data read and checked, and the recipe."""

    def __init__(self, loaded: Loaded, question: Question, tuning: Tuning, *, say: Callable[[str], None]):
        self.loaded, self.question, self.tuning = loaded, question, tuning
        self.kind = task_kind(question.task)
        self.columns = known_columns(question.task, question.columns)
        self.require()
        self.facts = framed_facts(loaded)
        given = question.data
        self.store = given if isinstance(given, Table) else open_for(loaded, given, valid=question.valid)
        held = self.store.valid
        self.keys = self.data_keys()
        self.source = self.read(self.store, self.keys)
        if self.source.labels:
            self.keys |= {"labels": self.source.labels}
        if self.source.labels and self.question.task != "choice":  # options are numbered by, not classes of the head
            self.facts = replace(self.facts, labels={"label": self.source.labels})
        judged = self.keys | ({"target": "number"} if self.scored(held) else {})
        self.valid = None if held is None else self.read(held, judged)
        self.tell(say)

    def require(self) -> None:
        """Raise InputError for a task the model cannot be taught."""
        if self.question.task == JUDGE:
            raise InputError(
                f"--task {JUDGE}: a judge is taught with its reasoner\n  next: --task classify --long recall"
            )
        if not reads_text(self.loaded):
            raise InputError(
                f"{self.loaded.path}: this model does not read text\n  next: --task image_label for pictures"
            )
        require_entities(self.loaded, self.columns)
        if self.question.task == "text_to_text":
            self.written()
        else:
            reading(self.loaded, self.question.task)

    def read(self, store: Any, keys: dict[str, Any]) -> Any:
        """The rows of a table in the model's form."""
        config = find("data.sources", keys["kind"]).Config.model_validate(keys)
        return build("data.sources", config, store, self.facts, "train")

    def scored(self, store: Table | Store | None) -> bool:
        """Whether pairs of texts come with a score to be judged by."""
        return self.question.task == "embed" and store is not None and "label" in self.columns

    def data_keys(self) -> dict[str, Any]:
        """The recipe's data, but for the sample of a seed."""
        form = self.kind.form
        if self.question.orders == "both":
            if self.kind.objective not in ("classify", "regress") or "second" not in self.columns:
                raise InputError("--orders both: for classify and regress on pairs (--column second=COLUMN)")
            form = "both"
        recipe = self.loaded.recipe
        texts = 2 if self.question.task == "text_to_text" and not has_decoder(recipe) else 1
        length = check_length(recipe, self.question.length, self.kind.length, texts=texts)
        target = "none" if self.question.task == "embed" else self.kind.target
        return {"kind": "table", "form": form, "target": target, "length": length, **self.columns}

    def tell(self, say: Callable[[str], None]) -> None:
        """Say how many rows there are and how many were too long."""
        for what, source in (("training", self.source), ("validation", self.valid)):
            if source is not None:
                cut = getattr(source, "truncated", 0)
                linked = f", {source.linker.found} entities" if getattr(source, "linker", None) else ""
                cut = f", {cut} cut to {source.config.length} tokens" if cut else ""
                say(f"{what}: {len(source)} rows{cut}{linked}")

    # -- the recipe ---------------------------------------------------------------------------------------------------

    def rows(self) -> int:
        """Rows of tokens a seed trains on."""
        some = self.tuning.labels
        if some is None:
            return len(self.source)
        return min(len(self.source), round(some * len(self.source) / len(self.source.records)))

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
        found = writing(self.loaded.recipe)
        if found is None:
            raise InputError(
                f"--task text_to_text: {self.loaded.path} neither decodes nor reads from left to right\n"
                "  next: a model pre-trained from a recipe like t5, gpt2, unilm or glm"
            )
        kind, own = found
        fields = find("objectives", kind).Config.model_fields.keys() - {"kind", "name", "on", "weight", "share"}
        if kind in ("mask_target", "blank_target"):  # what is hidden is another matter than in pre-training
            fields = {"head", "visible"} & fields
        kept = {k: v for k, v in own.model_dump().items() if k in fields}
        return kind, kept, {own.share or own.name or own.kind: kind}

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
            if "pool" not in keys and self.question.task not in TOKENWISE:
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
        keys.pop("memory", None)  # rows of a table do not follow each other
        if self.keys["form"] == "text":  # the same rows, so the same pass of the backbone
            return [keys], {}
        second = {k: v for k, v in self.keys.items() if k in ("kind", "length", "text", "second")}
        return [keys | {"on": "texts"}], {"texts": {**second, "form": "text", "target": "none"}}

    def tree(self, seed: int) -> Tree:
        """The recipe of one seed."""
        t, old = self.tuning, self.loaded.tree.keys
        sample = {"limit": {"rows": t.labels, "seed": seed}} if t.labels is not None else {}
        more, data = self.auxiliary()
        keys: dict[str, Any] = {k: old[k] for k in ("family", "source", "tokenizer", "backbone") if k in old}
        keys |= {
            "data": {SOURCE: self.keys | sample, **{n: d | sample for n, d in data.items()}},
            "objectives": [self.objective(), *more],
            "optim": {"kind": "adamw", "lr": self.lr(), "weight_decay": 0.01, "layer_decay": t.layer_decay},
            "schedule": {"kind": "linear", "warmup": 0.1},
            "loop": {"steps": self.steps(), "batch": self.batch(), "seed": seed, "clip": 1.0},
        }
        if t.unfreeze:
            keys["unfreeze"] = {"joins": max(1, round(t.unfreeze * self.rows() / self.batch()))}
        for text in t.sets:
            keys = override(keys, text, {})
        return Tree(self.loaded.tree.name, keys)

    def job(self, seed: int, out: Path | None, *, device: str, progress: Progress, resume: bool = False) -> Job:
        """One seed's training; with `resume` it goes on with what lies in `out`, if anything does."""
        tree = self.tree(seed)
        recipe = check(tree)
        stores: dict[str, Any] = {n: self.bare(recipe) for n in recipe.data}
        history = {"task": self.told(), "pre-training": self.loaded.history.get("training", {})}
        weights = None if self.tuning.scratch else self.weights(recipe, self.facts)
        facts = replace(self.facts)
        goes_on = resume and out is not None and RunFolder(out).holds_run()
        told: dict[str, Any] = {"progress": progress, "history": history}
        return Job(tree, stores, out, None, weights, facts, device, resume=goes_on, **told)

    def train(self, seed: int, out: Path | None, *, device: str, progress: Progress, resume: bool = False) -> Done:
        """Train one seed, or go on with it."""
        return run_job(self.job(seed, out, device=device, progress=progress, resume=resume))

    def identity(self, seed: int) -> str:
        """What the figures of a seed depend on: how it is taught what, and the model it begins with."""
        return digest(self.tree(seed).keys, data_identity({SOURCE: self.store}), self.beginning, self.question.long)

    @cached_property
    def beginning(self) -> str | None:
        """A digest of the weights that every seed begins with; None for fresh ones."""
        return None if self.tuning.scratch else weights_identity(own_tensors(self.loaded.model))

    def judge(self, done: Done, *, device: str) -> dict[str, float]:
        """The figures of a trained model on the validation rows."""
        return judge(done, self.valid, device=device)

    def bare(self, recipe: Recipe) -> Table | Store:
        """The training rows; with those to judge on only where the loop asks for them on the way."""
        if recipe.loop.evaluate.every or not isinstance(self.store, Table):
            return self.store
        alone = copy.copy(self.store)
        alone.valid = None
        return alone

    def weights(self, recipe: Recipe, facts: Facts) -> dict[str, torch.Tensor]:
        """What the model brings along, with rows for new tokens."""
        renamed = self.written()[2] if self.question.task == "text_to_text" else {}
        weights = weights_of(self.loaded, renamed=renamed)
        if self.loaded.facts.labels != facts.labels:  # a head for other classes
            weights = {n: t for n, t in weights.items() if not n.startswith(f"objectives.{self.kind.objective}.")}
        if facts.vocab == self.loaded.facts.vocab:
            return weights
        return grown(weights, own_tensors(make_model(recipe, facts, seed=recipe.loop.seed)))

    def told(self) -> dict[str, Any]:
        """What a model card and results.json say about how it was taught."""
        data = str(getattr(self.store, "path", self.question.data))
        asked = {k: v for k, v in vars(self.question).items() if v not in (None, "")} | {"data": data}
        taught = {k: v for k, v in asdict(self.tuning).items() if v not in (None, False, 0, 0.0, ())}
        taught |= {"lr": self.lr(), "steps": self.steps(), "rows": self.rows(), "model": self.loaded.path}
        return {k: str(v) if isinstance(v, Path) else v for k, v in (asked | taught).items()}
