"""The loop: one for every system, pre-training and downstream alike.

A step is a function of (weights, moments, its number): data, masks and dropout are keyed by the number, so going on
from a checkpoint repeats what an uninterrupted run would have done, to the last bit on the same machine."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.core import RecipeError, RunError, find, seed_of
from modeledge.engine.device import compute_in, scaler, set_seed
from modeledge.engine.memory import peak_bytes
from modeledge.engine.processes import ALONE, Ranks, sum_gradients
from modeledge.optim import exchange, tell
from modeledge.recipe.schema import Recipe
from modeledge.run import checkpoint
from modeledge.run.ahead import Ahead, Taken
from modeledge.run.cost import Gauge
from modeledge.run.evaluate import evaluate
from modeledge.run.feed import Feed, Step, tokens
from modeledge.run.folder import RunFolder
from modeledge.run.health import Health
from modeledge.run.model import Model
from modeledge.run.progress import Progress
from modeledge.run.signals import Stop
from modeledge.run.thaw import freeze_below, live_groups

SAVING = 50.0
"""Checkpoints by the clock are at least so many times as far apart as the last one took to save."""
HEAVY = 1_000_000
"""Weights to train from which on everything alive is searched for garbage first: that takes a third of a second, which
is longer than toys train."""
OVERFLOWS = 30
"""Steps in a row that dynamic loss scaling may need to find its scale: it starts at 2^16 and halves."""
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
"""Modules whose running figures a forward pass moves, and a step that is refused must not."""
UNWATCHED = contextlib.nullcontext(contextlib.nullcontext())


@dataclass
class Position:
    """Where a run stands: what a checkpoint needs besides tensors. `step` counts within the stage, `before` are the
    steps of earlier stages; `judged` is the last step of the stage that was evaluated."""

    step: int = 0
    before: int = 0
    tokens: int = 0
    seconds: float = 0.0
    skipped: int = 0
    skipped_in_row: int = 0
    best: float | None = None
    best_step: int | None = None
    worse_in_row: int = 0
    judged: int = 0
    stage: int = 0

    @property
    def overall(self) -> int:
        """Steps since the run began: what checkpoints and metrics are named by."""
        return self.before + self.step


@dataclass
class Result:
    """What a training run came to."""

    position: Position
    losses: dict[str, float] = field(default_factory=dict)
    valid: dict[str, float] = field(default_factory=dict)
    stopped: str = ""
    exit_code: int = 0


class Trainer:
    """Everything one stage of a run needs, and its loop.

    rate: operations a second that this device can do; if given, the first step is counted, to say what share of it the
    run reaches."""

    def __init__(
        self,
        recipe: Recipe,
        model: Model,
        feed: Feed,
        *,
        device: torch.device,
        precision: str,
        ranks: Ranks = ALONE,
        valid: Feed | None = None,
        folder: RunFolder | None = None,
        progress: Progress,
        identity: dict[str, Any] | None = None,
        rate: float = 0.0,
        baselines: dict[str, dict[str, float]] | None = None,
    ):
        self.recipe, self.model, self.feed, self.valid = recipe, model.to(device), feed, valid
        self.device, self.precision, self.ranks = device, precision, ranks
        self.folder, self.progress, self.identity = folder, progress, identity or {}
        named, groups = dict(model.named_parameters()), model.layer_groups()
        above = {name: i for i, names in enumerate(reversed(groups)) for name in names}
        self.groups = [[named[name] for name in names] for names in groups]
        self.optimizer = find("optim", recipe.optim.kind)(recipe.optim, above).make(named.items())
        for group in self.optimizer.param_groups:
            group["peak"] = group["lr"]
        self.schedule = find("optim.schedules", recipe.schedule.kind)(recipe.schedule)
        self.scaler = scaler(precision, device)
        guarded = self.scaler.is_enabled() or recipe.loop.guard.on_bad == "skip"
        self.waits = device.type == "cpu" or guarded or ranks.size > 1  # for each step, before its update
        self.ahead = Ahead()
        self.position = Position()
        self.total = recipe.loop.steps
        compiled = recipe.loop.compile in (True, "graphs")  # what "auto" comes to was decided before
        self.graphs = recipe.loop.compile == "graphs"
        mode = "reduce-overhead" if self.graphs else None
        self.net: Callable[..., Any] = torch.compile(model, mode=mode) if compiled else model  # type: ignore[assignment]
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise RecipeError("every weight of this model stays as it is; there is nothing to train")
        self.running = [b for m in model.modules() if isinstance(m, BATCH_NORMS) for b in m.buffers()]
        countable = rate > 0 and not compiled and recipe.mix.kind == "sum"  # a step like any other
        self.rate, self.gauge = rate, Gauge(model) if countable else None
        self.flop_per_token = 0.0
        self.health = Health(baselines) if baselines else None
        self.saved_at, self.saving = time.monotonic(), 0.0
        self.unwritten = False
        self.stop = Stop()

    # -- one step ---------------------------------------------------------------------------------------------------

    def take(self, step: Step) -> Taken | None:
        """One optimizer step; None if a signal came while its micro-batches were added up, and all is as before it.

        A trainer that waits looks at the numbers before the update, and one that is not finite changes nothing. One
        that does not wait finds out later, when the weights are lost: it can stop, and neither skip nor scale."""
        loop = self.recipe.loop
        set_seed(seed_of(loop.seed, "step", step.number, self.ranks.rank), self.device)
        factor = self.schedule.factor(step.number, self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        if self.recipe.unfreeze is not None:
            live = live_groups(self.recipe.unfreeze, step.number, self.total, groups=len(self.groups))
            freeze_below(self.groups, live)
        running = [b.clone() for b in self.running]
        totals = self.backward(step)
        if totals is None:
            self.undo(running)
            return None
        self.scaler.unscale_(self.optimizer)
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(grads)
        numbers = torch.stack([*totals.values(), norm.float()])
        taken, overflow = Taken(step, list(totals), numbers, self.optimizer.param_groups[0]["lr"]), False
        if self.waits and not taken.finite:
            taken.good, overflow = False, self.scaler.is_enabled() and all(map(math.isfinite, taken.told[0].values()))
            self.refuse(taken, overflow=overflow)
        elif loop.clip > 0 and not (self.waits and taken.told[1] < 0.999 * loop.clip):  # else it multiplies by one
            nn.utils.clip_grads_with_norm_(self.parameters, loop.clip, norm)
        if taken.good or overflow:
            self.scaler.step(self.optimizer)
        if self.scaler.is_enabled():
            self.scaler.update()
        if not taken.good:
            self.undo(running)
            return taken
        for _, objective in self.model.each():
            objective.after_step(step.number)
        self.optimizer.zero_grad(set_to_none=True)
        return taken

    def undo(self, running: list[Tensor]) -> None:
        """Leave no trace of the forward passes of a step that does not count; `running`: figures from before them."""
        for _, objective in self.model.each():
            objective.forget_step()
        for now, before in zip(self.running, running, strict=True):
            now.copy_(before)
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, step: Step) -> dict[str, Tensor] | None:
        """Accumulate the gradient of the step's loss; the summed losses over all ranks, by name. None if one of them
        was asked to stop before the last of several micro-batches."""
        totals: dict[str, Tensor] = {}
        passes = [(work.names, micro) for work in step.works for micro in work.micros]
        done = 0
        for names, micro in passes:
            if self.stop.asked and len(passes) > 1:
                break
            if self.graphs:
                torch.compiler.cudagraph_mark_step_begin()
            with self.gauge.watch(tokens(micro)) if self.gauge else UNWATCHED as held:
                with held, compute_in(self.precision, self.device):
                    sums = self.net(names, micro.tensors(self.device))
                    loss = self.combine(names, sums, step)
                self.scaler.scale(loss).backward()
            if self.graphs and done + 1 < len(passes):
                self.keep_gradients()
            for name, value in sums.items():
                totals[name] = totals.get(name, torch.zeros((), device=self.device)) + value.total.detach().float()
            done += 1
        if len(passes) > 1 and self.ranks.any(done < len(passes)):
            return None
        sum_gradients(self.parameters, self.ranks)
        told = self.ranks.sum(torch.stack([totals[name] for name in sorted(totals)]))
        return dict(zip(sorted(totals), told, strict=True))

    def keep_gradients(self) -> None:
        """Bring the gradients away from where the next replay of the graph writes its own."""
        for p in self.parameters:
            p.grad = None if p.grad is None else p.grad.clone()

    def combine(self, names: tuple[str, ...], sums: dict[str, Any], step: Step) -> Tensor:
        """weight x total / global count, summed."""
        weights: dict[str, float] = {}
        for name in names:
            weights |= self.model.objectives[name].weights(step.number, self.total)  # type: ignore[operator]
        parts = [sums[k].total * (weights[k] / max(step.counts[k], 1)) for k in sums]
        return torch.stack(parts).sum()

    def refuse(self, taken: Taken, *, overflow: bool) -> None:
        """A step whose numbers are not finite: stop, or skip it, as the recipe says; say where it came from.

        overflow: only a scaled gradient is not: the scaler halves its scale, and the next step is likely to fit."""
        guard, position, step = self.recipe.loop.guard, self.position, taken.step
        means, norm = taken.told
        if overflow and position.skipped_in_row < OVERFLOWS:
            position.skipped, position.skipped_in_row = position.skipped + 1, position.skipped_in_row + 1
            return
        bad = "the gradient" if all(map(math.isfinite, means.values())) else "the loss"
        if self.waits:  # else later steps have spread it over all weights
            weights = (n for n, p in self.model.named_parameters() if not torch.isfinite(p).all())
            grads = ((n, p.grad) for n, p in self.model.named_parameters() if p.grad is not None)
            slopes = (f"the gradient of {n}" for n, g in grads if not torch.isfinite(g).all())
            bad = next(itertools.chain(weights, slopes), bad)
        rows = ", ".join(f"{k}: {[int(r) for r in v[:8]]}" for k, v in step.rows.items())
        last = checkpoint.steps_in(self.folder.checkpoints)[-1:] if self.folder else []
        text = (
            f"step {step.number}: {bad} is not finite (losses {means}, gradient norm {norm})\n"
            f"  first rows of the batch: {rows}\n  last good checkpoint: {f'step {last[0]}' if last else 'none yet'}"
        )
        position.skipped_in_row += 1
        if guard.on_bad == "stop":
            raise RunError(text + "\n  next: a lower optim.lr, loop.precision=fp32, or loop.guard.on_bad=skip")
        if position.skipped_in_row > guard.skips:
            raise RunError(f"{text}\n  {guard.skips} steps in a row were skipped: the run stops")
        position.skipped += 1
        self.progress.warn(f"skipped {text}")

    # -- the whole --------------------------------------------------------------------------------------------------

    def fit(self) -> Result:
        """Train from the current position to the end, or until a signal, patience or a failure."""
        with self.stop:
            means, valid, why = self._whole()
        if self.ranks.any(bool(self.stop.asked)):  # all of them end
            self.stop.asked = self.stop.asked or signal.SIGTERM
        return Result(self.position, means, valid, why, self.stop.exit_code)

    def _whole(self) -> tuple[dict[str, float], dict[str, float], str]:
        """All steps and what follows them: the last losses, the last held-out figures, why it ended before its time."""
        self.model.train()
        self.progress.start(self.total, done=self.position.step)
        gc.collect(2 if sum(p.numel() for p in self.parameters) >= HEAVY else 1)
        gc.freeze()
        try:
            means, valid, why = self._steps()
        finally:
            gc.unfreeze()
            self.progress.end()
        patience = self.recipe.loop.evaluate.patience
        if why != "signal" and self.position.judged < self.position.step:
            valid, _ = self.judge()
        if why != "signal" and patience and self.position.best_step != self.position.overall:
            valid = self.return_to_best() or valid
        if why != "signal":
            exchange(self.optimizer)  # what is kept is what was judged
        return means, valid, why

    def _steps(self) -> tuple[dict[str, float], dict[str, float], str]:
        loop, position = self.recipe.loop, self.position
        means: dict[str, float] = {}
        valid: dict[str, float] = {}
        worse = False
        if self._due(loop.evaluate.every) and position.judged < position.step and position.step:
            valid, worse = self.judge()  # a signal came before it could be done
        if worse or (loop.evaluate.patience and position.worse_in_row >= loop.evaluate.patience):
            return means, valid, "patience"
        self.ahead = Ahead()
        for step in self.feed.steps(position.step, self.total, workers=loop.workers):
            taken = self.take(step)
            if taken is None:
                means = self.settle() or means
                self.save(must=True)
                return means, valid, "signal"
            self.stop.listen()
            position.step, position.tokens = step.number + 1, position.tokens + step.tokens
            taken.tokens = position.tokens
            self.ahead.open.append(taken)
            if self.gauge is not None:
                self.weigh(self.gauge, step)
            if self.waits or self.ahead.due:
                means = self.settle()
            asked, old = self.ranks.each(bool(self.stop.asked), self._old())
            last, judges, saves = position.step == self.total, *map(self._due, (loop.evaluate.every, loop.save.every))
            if asked or old or last or judges or saves:
                means = self.settle() or means
            if judges and not asked:
                begun = time.perf_counter()
                valid, worse = self.judge()
                self.ahead.mark += time.perf_counter() - begun
                asked = self.ranks.any(bool(self.stop.asked))
            if asked or worse or old or last or saves:
                self.save(must=asked or worse or last)
            if asked or worse:
                return means, valid, "signal" if asked else "patience"
        return means, valid, ""

    def settle(self) -> dict[str, float]:
        """Hear how the steps went that were not asked about, and log those that are due; the losses of the last.

        Raises RunError if one was not finite."""
        position, means = self.position, {}
        for taken, seconds in self.ahead.hear():
            if taken.good and not taken.finite:
                self.refuse(taken, overflow=False)
            means, norm = taken.told
            position.seconds += seconds
            position.skipped_in_row = 0 if taken.good else position.skipped_in_row
            self.ahead.count(seconds, taken.step.tokens)
            if (taken.step.number + 1) % max(1, self.total // 1000) == 0 or taken.step.number + 1 == self.total:
                self.note(taken, self.ahead.rate())
        return means

    def _old(self) -> bool:
        """Whether the first process finds the last checkpoint old."""
        minutes = self.recipe.loop.save.minutes
        most = max(60 * minutes, SAVING * self.saving)
        return minutes > 0 and self.ranks.first and time.monotonic() - self.saved_at > most

    def return_to_best(self) -> dict[str, float]:
        """Take the weights of the best evaluation again, where they were kept; the figures of what is taken."""
        best = self.position.best_step
        if self.folder is None or best not in checkpoint.steps_in(self.folder.checkpoints):
            return {}
        saved = checkpoint.load(checkpoint.path_of(self.folder.checkpoints, best))
        checkpoint.set_tensors(self.model, saved.model, where=str(saved.path))
        checkpoint.set_optimizer(self.optimizer, saved)
        self.progress.say(f"no better since step {best}, whose weights are kept")
        return self.held_out()

    def weigh(self, gauge: Gauge, step: Step) -> None:
        """Say what the first step cost, and count no more."""
        self.flop_per_token = gauge.flop * self.ranks.size / max(step.tokens, 1)
        self.progress.say(
            f"  a token costs {gauge.held / 1e3:,.1f} kB of activations and {self.flop_per_token / 1e6:,.2f} MFLOP"
        )
        self.gauge = None

    def _due(self, every: int) -> bool:
        return every > 0 and self.position.step % every == 0

    def note(self, taken: Taken, rate: float) -> None:
        """One line of metrics, and the progress bar."""
        (means, norm), at, p = taken.told, taken.step.number + 1, self.position
        share = rate * self.flop_per_token / self.ranks.size / self.rate if self.rate else 0.0
        self.progress.update(at, {**means, "lr": taken.lr}, tokens_per_second=rate, share=share)
        record = {"step": p.before + at, "stage": p.stage, "loss": means, "lr": taken.lr, "norm": norm}
        record["tokens"] = taken.tokens
        speed = {"tokens_per_second": round(rate, 1), "seconds": round(p.seconds, 3)}
        speed |= {"share": round(share, 4)} if share else {}
        self.log({**record, **speed, "memory": peak_bytes(self.device)})

    def held_out(self) -> dict[str, float]:
        """The figures on held-out rows; {} if asked to stop, or if there are none."""
        if self.valid is None:
            return {}
        exchange(self.optimizer)
        batches, on = self.recipe.loop.evaluate.batches, self.device
        found = evaluate(self.model, self.valid, batches=batches, device=on, precision=self.precision, stop=self.stop)
        exchange(self.optimizer)
        self.model.train()
        if self.ranks.any(not found):
            return {}
        return dict(json.loads(self.ranks.tell(json.dumps(found))))  # what follows from them is the same everywhere

    def judge(self) -> tuple[dict[str, float], bool]:
        """Evaluate on held-out rows: (figures, whether patience ran out). With patience the best step is kept."""
        loop, p = self.recipe.loop, self.position
        figures = self.held_out()
        if not figures:
            return {}, False
        p.judged = p.step
        score = sum(v for k, v in figures.items() if k in self.feed_losses())
        tell(self.optimizer, score)
        if p.best is None or score < p.best:
            p.best, p.best_step, p.worse_in_row = score, p.overall, 0
            if loop.evaluate.patience:
                self.save(must=False)
        else:
            p.worse_in_row += 1
        self.log({"step": p.overall, "stage": p.stage, "valid": figures})
        self.progress.say(f"step {p.step}  held out: " + "  ".join(f"{k} {v:.4f}" for k, v in figures.items()))
        return figures, bool(loop.evaluate.patience and p.worse_in_row >= loop.evaluate.patience)

    def log(self, record: dict[str, Any]) -> None:
        """A record for the run folder, and for whoever watches the run's health."""
        for warning in self.health.hear(record, self.position.step / self.total) if self.health else ():
            self.progress.warn(warning)
        if self.folder and self.ranks.first and (problem := self.folder.log(record)) and not self.unwritten:
            self.unwritten = True
            self.progress.warn(f"{problem}; training goes on, its figures are lost")

    def feed_losses(self) -> set[str]:
        """The names of all losses."""
        return {loss for _, o in self.model.each() for loss in o.losses}

    def save(self, *, must: bool) -> None:
        """A checkpoint of this position (the first rank writes), then the old ones are rotated.

        must: a failure ends the run; otherwise it is said, and training goes on with the older checkpoints intact."""
        if self.folder is None:
            return
        begun = time.monotonic()
        problem: RunError | None = None
        if self.ranks.first:
            state = {"position": self.position.__dict__, "identity": self.identity, "scaler": self.scaler.state_dict()}
            try:
                checkpoint.save(self.folder.checkpoints, self.position.overall, self.model, self.optimizer, state)
                checkpoint.rotate(
                    self.folder.checkpoints, keep=self.recipe.loop.save.keep, best=self.position.best_step
                )
            except RunError as error:
                problem = error
        if self.ranks.any(problem is not None):
            problem = problem or RunError(f"step {self.position.step}: the first process could not save")
            if must:
                raise problem
            self.progress.warn(f"not saved, training goes on: {problem}")
        self.saved_at = time.monotonic()
        self.saving = self.saved_at - begun

    def restore(self, saved: checkpoint.Saved) -> None:
        """Go on from a checkpoint."""
        checkpoint.set_tensors(self.model, saved.model, where=str(saved.path / "model.safetensors"))
        checkpoint.set_optimizer(self.optimizer, saved)
        self.position = Position(**saved.state["position"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(saved.state["scaler"])
