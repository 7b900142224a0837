"""One stage of a job: sources and model are built, what the recipe leaves open is decided, the loop runs."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from modeledge.core import Facts, InputError, RecipeError, TooLittle, build
from modeledge.data.sources import Source
from modeledge.data.store import Store
from modeledge.engine.device import choose_precision, product_rate
from modeledge.engine.flex import WORTH, flex_gain, make_flexible
from modeledge.engine.processes import Ranks
from modeledge.engine.recompute import recompute
from modeledge.recipe.resolve import Tree
from modeledge.recipe.schema import Loop, Recipe
from modeledge.run import checkpoint
from modeledge.run.budget import Budget
from modeledge.run.compiling import STEPS, TRIED, Pace, fastest
from modeledge.run.cost import step_flop
from modeledge.run.feed import Feed
from modeledge.run.folder import RunFolder
from modeledge.run.identity import check_identity, data_identity, weights_identity
from modeledge.run.known import facts_from
from modeledge.run.loop import Position, Result, Trainer
from modeledge.run.model import Model, make_model, parameter_count
from modeledge.run.progress import Progress, Silent

ROWS_AT_ONCE = 8192
"""Tokens in one forward pass when the recipe does not say: activations of small models then stay near the cache."""
HELD = 40
"""Bytes of activations for each token, layer and unit of width, at most: 34 in bf16 with dropout, beside attention's
(Korthikanti et al., arXiv:2205.05198 §4.1). On a GPU half of the free memory may be filled with them."""

REPAID = 600.0
"""Seconds of training that repay the minute that compiling takes, where steps are then a fifth faster."""
LEAST_STEPS = 100
"""Fewer are not timed to find out."""


@dataclass
class Job:
    """What is to be trained, on what, where to."""

    tree: Tree
    stores: dict[str, Store]
    out: Path | None
    budget: Budget | None = None
    init: dict[str, torch.Tensor] | None = None
    facts: Facts | None = None
    device: str = "auto"
    resume: bool = False
    step: int | None = None
    progress: Progress = field(default_factory=Silent)
    track: str | None = None
    history: dict[str, Any] = field(default_factory=dict)


@dataclass
class Done:
    """A finished (or stopped) job. `decided`: for each stage, what was decided on this machine; model, baselines and
    facts are those of the last one."""

    result: Result
    model: Model
    recipe: Recipe
    facts: Facts
    folder: RunFolder | None
    decided: list[dict[str, Any]]
    baselines: dict[str, dict[str, float]]


class Stage:
    """One stage: builds its sources and model, decides what the recipe left open, trains."""

    def __init__(
        self,
        job: Job,
        recipe: Recipe,
        number: int,
        *,
        device: torch.device,
        ranks: Ranks,
        budget: Budget | None = None,
    ):
        self.job, self.recipe, self.number, self.device, self.ranks = job, recipe, number, device, ranks
        self.budget = budget
        stores = job.stores
        self.facts = job.facts or facts_from(stores)
        self.sources = {n: build("data.sources", c, stores[n], self.facts, "train") for n, c in recipe.data.items()}
        if not (job.facts and job.facts.labels):  # what the data calls its classes
            named = {n: list(s.labels) for n, s in self.sources.items() if getattr(s, "labels", None)}
            self.facts = replace(self.facts, labels=self.facts.labels | named)
        counted = {n: found for n, s in self.sources.items() if (found := s.class_counts()) is not None}
        self.facts = replace(self.facts, classes=counted)
        self.held_out = self.hold_out()

    def hold_out(self) -> dict[str, Source]:
        """The held-out rows of the sources that have enough for a row."""
        out, none = {}, []
        for name, config in self.recipe.data.items():
            store = self.job.stores[name]
            if store.valid is None:
                none.append(name)
                continue
            try:
                out[name] = build("data.sources", config, store, self.facts, "valid")
            except TooLittle as error:
                self.job.progress.say(f"no held-out loss of data.{name}: {error}")
        if out and none:
            self.job.progress.say(f"no held-out loss of {', '.join(f'data.{name}' for name in none)}: no rows held out")
        return out

    def feeds(self, model: Model, known: dict[str, Any]) -> tuple[Feed, Feed | None]:
        loop = self.recipe.loop
        objectives = dict(model.each())
        for objective in objectives.values():
            objective.consult(self.sources)
        common: dict[str, Any] = {
            "batch": loop.batch,
            "micro": known["micro"],
            "seed": loop.seed,
            "total": known["steps"],
        }
        train = Feed(
            self.sources, objectives, self.recipe.mix, ranks=self.ranks, unit=loop.unit, rampup=loop.rampup, **common
        )
        if not self.held_out:
            return train, None
        held_out = Feed(self.held_out, objectives, self.recipe.mix, split="valid", first=train.first, **common)
        return train, held_out if held_out.objectives else None

    def length(self) -> int:
        """Tokens in a row of the first source, or patches of a picture and the token before them; 1 where a row has
        neither."""
        config = next(iter(self.recipe.data.values()))
        embedding = getattr(self.recipe.backbone, "embedding", None)
        side = getattr(embedding, "size", 0) // getattr(embedding, "patch", 1)
        return int(getattr(config, "length", None) or side**2 + 1)

    def width(self) -> int:
        """The model's width, as far as the recipe says it."""
        return int(getattr(self.recipe.backbone, "width", None) or 512)

    def at_once(self) -> int:
        """Tokens in one forward pass: few on a CPU, which has a cache to stay in; on a GPU what there is room for."""
        if self.device.type != "cuda":
            return ROWS_AT_ONCE
        free, _ = torch.cuda.mem_get_info(self.device)
        layers = int(getattr(self.recipe.backbone, "layers", None) or 12)
        return max(ROWS_AT_ONCE, free // (2 * HELD * self.width() * layers))

    def decide(self) -> dict[str, Any]:
        """What the recipe leaves to the machine, decided once and written down: precision, micro-batch, steps."""
        loop = self.recipe.loop
        width = self.width()
        precision, gain = choose_precision(loop.precision, self.device, width=width)
        share = loop.batch // self.ranks.size
        micro = loop.micro or largest_divisor(max(share, 1), max(1, self.at_once() // self.length()))
        known: dict[str, Any] = {
            "precision": precision,
            "bf16_gain": round(gain, 2),
            "micro": micro,
            "steps": loop.steps,
            "compile": loop.compile if loop.compile != "auto" else False,
        }
        backbone = self.recipe.backbone
        if heads := getattr(backbone, "heads", 0):
            per_head = getattr(backbone, "head_width", None) or width // heads
            gain, failed = flex_gain(self.device, precision, heads=heads, head_width=per_head, length=self.length())
            known |= {"flex": gain >= WORTH, "flex_gain": round(gain, 2)} if gain else {}
            if failed:
                self.job.progress.say(f"attention by masks: FlexAttention did not work here ({failed})")
        known |= self.plan(known)
        said = json.dumps(known)
        return json.loads(self.ranks.tell(said))

    def plan(self, known: dict[str, Any]) -> dict[str, Any]:
        """The number of steps and whether to compile: which of the two tells the other depends on the budget."""
        auto = self.recipe.loop.compile == "auto" and self.recipe.loop.recompute == "none"
        seen, tries = auto and self.compiles_well(), auto and self.device.type == "cuda" and self.ranks.size == 1
        timed = self.budget is not None and self.budget.unit == "seconds"
        if timed and seen:
            known = known | {"compile": self.budget.amount >= REPAID}  # type: ignore[union-attr]
        elif timed and tries and self.budget.amount >= TRIED:  # type: ignore[union-attr]
            known = known | self.fastest(known)
        if self.budget is not None:
            known = known | self.measure(known, self.budget)
        if (seen or tries) and not timed and known["steps"] >= LEAST_STEPS:
            seconds = known["steps"] * (known.get("seconds_per_step") or self.pace(known).seconds)
            if tries and seconds >= TRIED:
                return known | self.fastest(known)
            return known | {"compile": seen and seconds >= REPAID}
        return known

    def fastest(self, known: dict[str, Any]) -> dict[str, Any]:
        """What is decided about compiling on a GPU that works alone: several would have to try and to fail together."""
        found = fastest(lambda way: self.pace(known | {"compile": way}, least=STEPS), self.job.progress.say)
        torch.compiler.reset()  # graphs keep the memory that they write to
        return found

    def compiles_well(self) -> bool:
        """Whether compiling was seen to pay here at all: pictures alone, which have one size, on a CPU, with a compiler
        of C++ (`bench/vision.py`; rows of text are of many sizes, each compiled anew)."""
        pictures = all(config.kind == "images" for config in self.recipe.data.values())
        there = shutil.which(os.environ.get("CXX", "g++")) is not None
        return pictures and there and self.device.type == "cpu"

    def measure(self, known: dict[str, Any], budget: Budget) -> dict[str, Any]:
        """Turn the stage's budget into steps."""
        said = {"budget": str(self.job.budget)}
        if budget.unit == "steps":
            return {"steps": budget.steps(tokens=1, flop=1, seconds=1), **said}
        if budget.unit == "seconds" and (load := busy()):
            self.job.progress.warn(
                f"other programs keep {load:.1f} of {os.cpu_count()} cores busy: the budget will buy fewer steps"
                " than this machine could do"
            )
        pace = self.pace(known, flop=budget.unit == "flop")
        left, spent = budget, pace.spent + known.get("trial_seconds", 0.0)
        if budget.unit == "seconds":
            left = Budget(max(budget.amount - spent, pace.seconds), "seconds")
        return {
            "steps": left.steps(tokens=pace.tokens, flop=pace.flop, seconds=pace.seconds),
            "seconds_per_step": round(pace.seconds, 5),
            **({"flop_per_step": pace.flop} if pace.flop else {}),
            **said,
        }

    def pace(self, known: dict[str, Any], *, flop: bool = False, least: int = 3) -> Pace:
        """Time a few steps, at least so many, on a model that is then thrown away; count its operations if asked."""
        model = make_model(self.recipe, self.facts, seed=self.recipe.loop.seed)
        feed, _ = self.feeds(model, known)
        trainer = self.trainer(model, feed, None, known, None)
        operations = self.flop(trainer, feed) if flop else 0.0
        begun, times, losses, counted = time.perf_counter(), [], [], 0
        while self.ranks.any(len(times) < least or (time.perf_counter() - begun < 4.0 and len(times) < 20)):
            start = time.perf_counter()
            step = feed.step(feed.batches.usual + len(times))
            if (taken := trainer.take(step)) is not None:
                losses.append(sum(taken.told[0].values()))  # waits for the device
            times.append(time.perf_counter() - start)
            counted += step.tokens
        usual = sorted(times[1:])[len(times[1:]) // 2]
        return Pace(usual, counted / len(times), operations, time.perf_counter() - begun, tuple(losses))

    def flop(self, trainer: Trainer, feed: Feed) -> float:
        """Operations of a step; of sixteen over the run, on average, where the objectives take turns, batches grow or a
        rate of masking falls."""
        total = self.recipe.loop.steps
        falls = any(isinstance(getattr(o.config, "rate", None), tuple) for o in feed.objectives.values())
        alike = self.recipe.mix.kind == "sum" and self.recipe.loop.rampup is None and not falls
        numbers = [0] if alike else [total * (2 * i + 1) // 32 for i in range(16)]
        return sum(step_flop(trainer, feed.step(number)) for number in numbers) / len(numbers)

    def settled(self, known: dict[str, Any]) -> Loop:
        """The loop's settings with what was decided in the place of what was open."""
        compiled = known.get("compile", self.recipe.loop.compile is True)  # runs of earlier versions do not say it
        return self.recipe.loop.model_copy(update={"steps": known["steps"], "compile": compiled})

    def trainer(
        self,
        model: Model,
        feed: Feed,
        valid: Feed | None,
        known: dict[str, Any],
        folder: RunFolder | None,
        rate: float = 0.0,
        baselines: dict[str, dict[str, float]] | None = None,
    ) -> Trainer:
        recipe = self.recipe.model_copy(update={"loop": self.settled(known)})
        identity = {
            "tokenizer": getattr(self.facts.tokenizer, "fingerprint", None),
            "data": data_identity(self.job.stores),
        }
        if folder is not None and self.job.init is not None:
            identity["init"] = weights_identity(self.job.init)
        what = self.recipe.loop.recompute
        if what != "none" and not recompute(model, what):
            raise RecipeError(
                f"loop.recompute: nothing in a {self.recipe.backbone.kind} can be computed again ({what})\n"
                "  next: loop.recompute=none and a smaller loop.micro"
            )
        if known.get("flex"):
            make_flexible(model)
        return Trainer(
            recipe,
            model,
            feed,
            valid=valid,
            folder=folder,
            device=self.device,
            precision=known["precision"],
            ranks=self.ranks,
            progress=self.job.progress if folder is not None or self.job.out is None else Silent(),
            identity=identity,
            rate=rate,
            baselines=baselines,
        )

    def train(
        self,
        known: dict[str, Any],
        folder: RunFolder | None,
        *,
        weights: dict[str, torch.Tensor] | None,
        saved: checkpoint.Saved | None,
        before: Position,
    ) -> Done:
        """Train this stage; `before` is where the one before it ended."""
        model = make_model(self.recipe, self.facts, seed=self.recipe.loop.seed)
        if weights is not None and saved is None:
            self.take_over(model, weights)
        feed, valid = self.feeds(model, known)
        baselines = {n: o.baselines(self.facts) for n, o in model.each()}
        rate = product_rate(known["precision"], self.device, width=self.width()) if folder is not None else 0.0
        trainer = self.trainer(model, feed, valid, known, folder, rate, baselines)
        trainer.position = Position(
            stage=self.number,
            before=before.overall,
            tokens=before.tokens,
            seconds=before.seconds,
            skipped=before.skipped,
        )
        if folder is not None and saved is not None:
            check_identity(saved.state["identity"], trainer.identity, folder.path)
            trainer.restore(saved)
        if folder is not None and self.ranks.first:
            if saved or self.job.resume:
                at = trainer.position
                folder.cut_log(at.overall, judged=at.before + at.judged)
            extra = {
                "device": str(self.device),
                "threads": torch.get_num_threads(),
                "processes": self.ranks.size,
                "parameters": parameter_count(model),
                "product_flops": round(rate),
            }
            folder.write_environment({**extra, "decided": known, "baselines": baselines})
        self.announce(model, known, baselines)
        result = trainer.fit()
        return Done(result, model, self.recipe, self.facts, folder, [known], baselines)

    def announce(self, model: Model, known: dict[str, Any], baselines: dict[str, dict[str, float]]) -> None:
        say = self.job.progress.say
        gain = f" (bf16 products {known['bf16_gain']} times as fast)" if known.get("bf16_gain") else ""
        batch, grows = self.recipe.loop.batch, self.recipe.loop.rampup
        rows = f"{grows.start} to {batch}" if grows else batch
        say(
            f"{self.job.tree.name}: {parameter_count(model):,} parameters, {known['steps']} steps of "
            f"{rows} rows, micro-batch {known['micro']}, {known['precision']}{gain}, {self.device}"
        )
        if known.get("compile") and self.recipe.loop.compile == "auto":
            say("  compiled first, which takes a minute: the run is long enough to repay it (loop.compile=false: not)")
        for name, values in baselines.items():
            if values:
                say(
                    f"  {name} without learning: "
                    + ", ".join(f"{k} {v:.3f}" for k, v in values.items())
                    + " nats per target"
                )

    def take_over(self, model: Model, weights: dict[str, torch.Tensor]) -> None:
        """Weights of an earlier stage or model, wherever the name and shape are the same; at least the backbone's."""
        own = checkpoint.own_tensors(model)
        common = {n: t for n, t in weights.items() if n in own and own[n].shape == t.shape}
        added = getattr(model.backbone, "added", ())  # what a model that it extends lacks
        lost = [n for n in own if n.startswith("backbone.") and n not in common and n.split(".")[1] not in added]
        if lost:
            raise InputError(
                f"--init: {len(lost)} tensors of the backbone are missing there or of another shape: {lost[0]} ..."
            )
        with torch.no_grad():
            for name, tensor in common.items():
                own[name].copy_(tensor)


def busy() -> float:
    """How many cores were busy in the last minute, if so many that a measurement now says little; else 0."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return load if load > 0.75 * (os.cpu_count() or 1) else 0.0


def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of n that is at most `most`."""
    return max(d for d in range(1, n + 1) if n % d == 0 and d <= max(1, most))
