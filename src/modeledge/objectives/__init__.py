"""Objectives: what a model is trained on, or asked. View, visibility, heads, loss and metrics in one object.

Pre-training, fine-tuning, probing and distillation are the same kind of object; the loop knows only this class."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import IGNORE, Batch, Config, Facts, Output, Part, PartConfig, Sum
from modeledge.visibility import both, see
from modeledge.visibility.document import document
from modeledge.visibility.full import full
from modeledge.visibility.tree import tree
from modeledge.visibility.valid import valid

Rule = Callable[..., Any]


class Fade(Config):
    """A weight that goes from `start` to `end` by the same factor each step (SiATL, arXiv:1902.10547 §3.2)."""

    start: float = Field(gt=0)
    end: float = Field(gt=0)


class Objective(nn.Module, Part):
    """What one kind of training asks of a backbone.

    `losses` names the components the objective returns, in order; the loop weights and reports each by name."""

    class Config(PartConfig):
        """name: what it is called in losses and state (default: its kind); on: the source it reads (default: the
        first); weight: its factor in a sum of objectives, fixed or fading over the run; share: take the head of the
        objective of that name."""

        name: str | None = None
        on: str | None = None
        share: str | None = None
        weight: float | Fade = 1.0

    losses: tuple[str, ...] = ()
    draws = False
    """It samples inside the forward pass (torch's generator), so two cuts of a batch draw differently."""

    needs: tuple[str, ...] = ("ids",)
    """Fields its source must give."""

    apart = True
    """Where a source names the documents of a row (`isolate: true`), they do not see each other."""

    all_tokens = False
    """Every token of a text is a target once, given those before it: the first loss says how many bits a byte takes."""

    backward = False
    """It knows rows that are read from their end (the field `backward`)."""

    whole_batch = False
    """Its loss depends on which rows share a forward pass (contrast in the batch), so the batch must not be cut."""

    def __init__(self, config: Any, facts: Facts, backbone: nn.Module):
        super().__init__()
        self.config = config
        self.facts = facts
        self.losses = self.losses or (config.name or config.kind,)

    def role(self, name: str) -> int:
        """The id of the special token that plays a role. Raises RecipeError if the tokenizer has none."""
        return self.facts.role(name, f"objective {self.losses[0]}")

    def prepare(self, rows: int) -> None:
        """Told once, before training or loading, how many rows a global batch has (for what is kept a row)."""

    def consult(self, sources: dict[str, Any]) -> None:
        """Told once, before the first step, the sources of the training rows (for what looks things up in one)."""

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """What the model is shown for these rows (numpy, the whole global batch). Default: the rows as they are."""
        return batch

    def counts(self, batch: Batch) -> dict[str, float]:
        """How many targets each loss has in this (numpy) batch: the denominators, over all ranks and micro-batches.

        Must equal the `count` of the Sum that `loss` returns. Default: the labels that are not IGNORE."""
        return {self.losses[0]: float((batch.labels != IGNORE).sum())}

    def weights(self, step: int, total: int) -> dict[str, float]:
        """The factor of each loss at this step of `total`."""
        return dict.fromkeys(self.losses, self.weight(step, total))

    def weight(self, step: int, total: int) -> float:
        """The objective's own factor at this step of `total`."""
        weight = self.config.weight
        if not isinstance(weight, Fade):
            return weight
        return weight.start * (weight.end / weight.start) ** (step / max(total - 1, 1))

    def visible(self, batch: Batch) -> Rule:
        """Who sees whom. Default: every valid token of one's own document."""
        return own_document(batch, full)

    def forward(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        """The losses of this batch. Overridden by objectives that call the backbone otherwise (companions, towers)."""
        return self.loss(self.run(backbone, batch), batch)

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        """One pass of the backbone over the batch under this objective's visibility."""
        b, t = batch.ids.shape[:2]
        seen = see(self.visible(batch), b, t, device=batch.ids.device)
        return backbone(batch, seen, **options)

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        """One Sum a name in `losses`."""
        raise NotImplementedError

    def finish(self, batch: Batch) -> Batch:
        """The last touch on a (numpy) micro-batch, after it was cut. Default: gather the targets of `labels`."""
        return gather_targets(batch) if "labels" in batch else batch

    def after_step(self, step: int) -> None:
        """Move companions that do not follow a gradient (a queue, a momentum twin, an index)."""

    def forget_step(self) -> None:
        """The step was not applied: what was noted while it ran (the lists `waiting`) must not be settled."""
        for module in self.modules():
            getattr(module, "waiting", []).clear()

    def baselines(self, facts: Facts) -> dict[str, float]:
        """What knowing nothing (uniform), only frequencies (unigram) or also the token before (bigram) would cost, in
        nats per target.

        Of the first loss. Empty where there is no such figure: a share of yeses that only the run tells, for instance.
        No bigram where tokens are hidden: the one before may be hidden itself, and the one after helps as much."""
        return {}

    def measure(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        """Further averages for evaluation, e.g. accuracy; the same form as losses, never trained on.

        Overridden together with `forward`."""
        if type(self).metrics is Objective.metrics:
            return {}
        return self.metrics(self.run(backbone, batch), batch)

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        """`measure`, given the backbone's output."""
        return {}


def own_document(batch: Batch, rule: Rule) -> Rule:
    """`rule` within one's own document (packed rows), as facts hang on words (trees) and among valid tokens (padded
    rows), as the batch says."""
    if "doc" in batch:
        rule = both(rule, document(batch.doc))
    if "branch" in batch:
        rule = both(rule, tree(batch.branch, batch.anchor))
    if "valid" in batch:
        rule = both(rule, valid(batch.valid))
    return rule


def gather_targets(batch: Batch, *, multiple: int = 64) -> Batch:
    """Add `target_at` (flat places in b*t) and `targets` from `labels`, padded with (0, IGNORE) to a multiple.

    The vocabulary head then runs on target positions only, at shapes that hardly ever change."""
    flat = np.asarray(batch.labels).reshape(-1)
    at = np.flatnonzero(flat != IGNORE)
    m = max(multiple, -(-len(at) // multiple) * multiple)
    target_at, targets = np.zeros(m, np.int64), np.full(m, IGNORE, np.int64)
    target_at[: len(at)], targets[: len(at)] = at, flat[at]
    return batch.but(target_at=target_at, targets=targets)


def entropy(counts: np.ndarray | None, allowed: slice | np.ndarray = slice(None)) -> float | None:
    """Entropy in nats of the distribution proportional to `counts[allowed]`; None without counts."""
    if counts is None:
        return None
    p = np.asarray(counts, np.float64)[allowed]
    p = p[p > 0] / max(p.sum(), 1)
    return float(-(p * np.log(p)).sum())


def class_baselines(classes: int, facts: Facts, on: str | None) -> dict[str, float]:
    """`baselines` of naming one of `classes`: blindly, and by how often each occurs in the source `on` (default: the
    first that has classes)."""
    known = entropy(facts.classes.get(on) if on else next(iter(facts.classes.values()), None))
    return {"uniform": math.log(classes)} | ({} if known is None else {"unigram": known})


def token_baselines(
    facts: Facts, counts: np.ndarray | None, allowed: slice | np.ndarray = slice(None)
) -> dict[str, float]:
    """`baselines` of predicting tokens, each of which is a target as often as `counts` says (none: unknown)."""
    known = entropy(counts, allowed)
    return {"uniform": math.log(facts.vocab)} | ({"unigram": known} if known else {})


def pick(states: Tensor, batch: Batch) -> Tensor:
    """The states at the targets: b t d -> m d."""
    return states.flatten(0, 1)[batch.target_at]
