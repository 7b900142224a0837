"""Replaced-token detection: a small generator fills masked places by sampling, the model says which tokens are not the
original ones.

Source: ELECTRA, arXiv:2003.10555 §2-3.1. The generator is a companion: trained by its own masked loss, it shares the
embedding tables with the model (one storage) and gets no gradient through the sampling. A sampled token that happens to
be right counts as original. Not here: the released code's drawing of places with replacement."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import IGNORE, Batch, Facts, PartConfig, Slot, Sum, build, part
from modeledge.layers.positions import Positions
from modeledge.losses.binary import binary_cross_entropy
from modeledge.objectives import Objective, Rule
from modeledge.objectives._hiding import Hiding
from modeledge.visibility import see


class ReplacedTokenDetection(Objective):
    """Two losses: the detection over all valid tokens, and the generator's over the masked ones."""

    draws = True

    class Config(Objective.Config):
        """generator: its width relative to the model's (heads and feed-forward likewise), or what fills the places
        instead (uniform: any token); layers: of the generator (default: as many); factor: of the detection loss;
        mask: the objective that hides tokens and trains the generator; tie: the tables both networks share."""

        generator: float | Literal["uniform"] = 0.25
        layers: int | None = Field(None, ge=1)
        factor: float = Field(50.0, gt=0)
        mask: Hiding = part("mlm", replace=(1.0, 0.0))
        tie: Literal["embeddings", "none"] = "embeddings"
        head: Annotated[PartConfig, Slot("heads")] = part("per_token", transform="dense")

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone, outputs=1)
        name = self.losses[0]
        self.generator: nn.Module | None = None
        if config.generator != "uniform":
            small = smaller(backbone, config.generator, layers=config.layers)
            self.generator = build("backbones", small, facts)
            if config.tie == "embeddings":
                tie_embeddings(self.generator, backbone)
            self.losses = (name, f"{name}_generator")
        self.mask: Any = build("objectives", config.mask, facts, self.generator or backbone)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        return self.mask.view(batch, rng)

    def counts(self, batch: Batch) -> dict[str, float]:
        real = batch.valid.sum() if "valid" in batch else batch.ids.size
        return dict(zip(self.losses, (float(real), float((batch.labels != IGNORE).sum())), strict=False))

    def weights(self, step: int, total: int) -> dict[str, float]:
        weight = self.weight(step, total)
        parts = (weight * self.config.factor, weight * self.mask.weight(step, total))
        return dict(zip(self.losses, parts, strict=False))

    def visible(self, batch: Batch) -> Rule:
        return self.mask.visible(batch)

    def forward(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        filled, replaced, generated = self.fill(batch)
        logits = self.detect(backbone, filled)
        return dict(zip(self.losses, (binary_cross_entropy(logits, replaced, real(batch)), *generated), strict=True))

    def fill(self, batch: Batch) -> tuple[Batch, Bool[Tensor, "b t"], list[Sum]]:
        """The batch with its hidden places filled, which of them differ from the original, and the generator's loss.

        No gradient flows from what is made of the sampled tokens to the generator."""
        if self.generator is None:
            drawn = torch.randint(*self.facts.words, batch.targets.shape, device=batch.ids.device)
            return *put(batch, drawn), []
        rule = self.mask.visible(batch)
        out = self.generator(batch, see(rule, *batch.ids.shape, device=batch.ids.device))
        with torch.no_grad():
            drawn = draw(self.mask.scores(out, batch))
        return *put(batch, drawn), [self.mask.loss(out, batch)[self.mask.losses[0]]]

    def detect(self, backbone: nn.Module, filled: Batch) -> Float[Tensor, "b t"]:
        """For each token, how likely it is a replacement (before the sigmoid)."""
        return self.head(self.run(backbone, filled).states).squeeze(-1)

    def measure(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        """accuracy: tokens judged rightly; replaced: share of fakes (judging all as original has accuracy 1 - that)."""
        filled, replaced, _ = self.fill(batch)
        counted = real(batch)
        right = ((self.detect(backbone, filled) > 0) == replaced) & counted
        return {"accuracy": Sum(right.sum(), counted.sum()), "replaced": Sum(replaced.sum(), counted.sum())}


def real(batch: Batch) -> Bool[Tensor, "b t"]:
    """Tokens that are not padding."""
    return batch.valid if "valid" in batch else torch.ones_like(batch.ids, dtype=torch.bool)


@torch.no_grad()
def draw(scores: Float[Tensor, "m v"]) -> Int[Tensor, " m"]:
    """One token each from softmax(scores), by torch's generator: the first of v exponential clocks to ring."""
    p = scores.float().softmax(-1)
    return (p / torch.empty_like(p).exponential_()).argmax(-1)


def put(batch: Batch, drawn: Int[Tensor, " m"]) -> tuple[Batch, Bool[Tensor, "b t"]]:
    """The batch with `drawn` at its targets, and where that is not the original token."""
    ids, n = batch.ids, batch.ids.numel()
    at = torch.where(batch.targets != IGNORE, batch.target_at, n)  # spare targets go to a place that is cut off
    filled = torch.cat([ids.flatten(), ids.new_zeros(1)]).index_put((at,), drawn)[:n]
    wrong = ids.new_zeros(n + 1, dtype=torch.bool).index_put((at,), drawn != batch.targets)[:n]
    return batch.but(ids=filled.view_as(ids)), wrong.view_as(ids)


def smaller(backbone: nn.Module, share: float, *, layers: int | None) -> PartConfig:
    """The settings of a network `share` as wide as `backbone` that reads the same tables of embeddings."""
    config: Any = backbone.config
    keys = config.model_dump()
    hidden = keys["ffn"].get("width") or 4 * config.width
    keys["embedding"]["width"] = backbone.embedding.width  # type: ignore[union-attr]
    keys["ffn"]["width"] = round(hidden * share)
    keys |= {"width": round(config.width * share), "heads": max(1, round(config.heads * share)), "pool": None}
    return type(config).model_validate(keys | {"layers": layers or config.layers})


def tie_embeddings(small: Any, large: Any) -> None:
    """Let `small` use the tables (tokens, segments, places) and the norm of `large`; its projection stays its own."""
    small.embedding.word, small.embedding.types = large.embedding.word, large.embedding.types
    small.embedding.norm = large.embedding.norm
    if type(large.positions).add is not Positions.add:  # other schemes act on heads, which differ
        small.positions = large.positions
