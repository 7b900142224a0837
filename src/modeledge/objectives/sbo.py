"""The span-boundary objective: each hidden token of a span from the two tokens that stand around the span.

Source: SpanBERT, arXiv:1907.10529 §3.2, and its released code: spans that touch count as one, the borders stand
outside, a span at the edge of a row has no target, a long span only its first places. It reads the `labels` that
another objective on the same source wrote. Not here: which spans are hidden (mlm.py, `replace: {per: span}`)."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import IGNORE, Batch, Facts, Output, PartConfig, RecipeError, Slot, Sum, build, part
from modeledge.losses.cross_entropy import accuracy, head_loss
from modeledge.objectives import Objective, token_baselines


class Around(NamedTuple):
    """For each place: the nearest places before and after it that are not hidden (-1 and t where there is none)."""

    left: Int[Tensor, "b t"]
    right: Int[Tensor, "b t"]


def around(hidden: Bool[Tensor, "b t"]) -> Around:
    """The borders of the hidden span that each place is in."""
    t = hidden.shape[1]
    place = torch.arange(t, device=hidden.device).expand(hidden.shape)
    left = torch.where(hidden, -1, place).cummax(1).values
    right = torch.where(hidden, t, place).flip(1).cummin(1).values.flip(1)
    return Around(left, right)


class SpanBoundary(Objective):
    """Goes behind a masked language model that hides spans."""

    class Config(Objective.Config):
        """longest: predict at most so many tokens of a span, from its left."""

        longest: int = Field(15, ge=1)
        head: Annotated[PartConfig, Slot("heads")] = part("boundary")

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone)
        self.ordinary = ~facts.is_special()

    def targets(self, labels: Int[Tensor, "b t"], valid: Bool[Tensor, "b t"] | None) -> tuple[Around, Tensor]:
        """The borders, and which places are predicted: bool b t."""
        hidden = labels != IGNORE
        borders, t = around(hidden), labels.shape[1]
        place = torch.arange(t, device=labels.device)
        asked = hidden & (borders.left >= 0) & (borders.right < t) & (place - borders.left <= self.config.longest)
        if valid is not None:
            asked &= valid.gather(1, borders.right.clamp(max=t - 1))
        return borders, asked

    def counts(self, batch: Batch) -> dict[str, float]:
        if "labels" not in batch:
            raise RecipeError(
                f"objectives.{self.losses[0]}: there are no hidden tokens to predict\n"
                "  next: an objective of kind mlm before it, on the same source"
            )
        valid = torch.from_numpy(batch.valid) if "valid" in batch else None
        return {self.losses[0]: float(self.targets(torch.from_numpy(batch.labels), valid)[1].sum())}

    def asked(self, out: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the token at each target of the batch is told from, m d, and what stood there."""
        at, b = batch.target_at, torch.arange(batch.labels.shape[0], device=batch.labels.device)[:, None]
        borders, asked = self.targets(batch.labels, batch["valid"] if "valid" in batch else None)
        t = batch.labels.shape[1]
        pick = asked.flatten()[at] & (batch.targets != IGNORE)
        left, right = ((b * t + side.clamp(0, t - 1)).flatten()[at] for side in borders)
        states = out.states.flatten(0, 1)  # type: ignore[union-attr]
        place = (at - left - 1).clamp(0, self.config.longest - 1)
        return self.head(states[left], states[right], place), torch.where(pick, batch.targets, IGNORE)

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        return {self.losses[0]: head_loss(self.head.decoder, *self.asked(out, batch))}

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        x, targets = self.asked(out, batch)
        scores = self.head.decoder(x)
        return {"boundary_accuracy": Sum(accuracy(scores, targets), (targets != IGNORE).sum())}

    def baselines(self, facts: Facts) -> dict[str, float]:
        return token_baselines(facts, facts.counts, self.ordinary)
