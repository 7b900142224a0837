"""Say which entity stands on each mention, after some entities were exchanged or taken away; and hide tokens, too.

Source: Tsinghua ERNIE, arXiv:1905.07129 §3.4. The candidates are the entities of the global batch, so that the loss
does not depend on how a batch is cut."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field
from torch import nn

from modeledge.core import IGNORE, Batch, Facts, Output, PartConfig, RecipeError, Slot, Sum, build, part
from modeledge.losses.cross_entropy import accuracy, cross_entropy
from modeledge.objectives import Objective, Rule, gather_targets
from modeledge.objectives._hiding import Hiding

_MULTIPLE = 64


class EntityDenoising(Objective):
    """Two losses: of the objective that hides tokens (`mask`), and of the entities."""

    needs = ("ids", "entities", "entity_starts")

    class Config(Objective.Config):
        """exchange, hide: shares of the mentions whose entity is replaced by a random one, and taken away; mask: what
        is asked about tokens of the same rows."""

        exchange: float = Field(0.05, ge=0, le=1)
        hide: float = Field(0.15, ge=0, le=1)
        mask: Hiding = part("mlm")
        head: Annotated[PartConfig, Slot("heads")] = part("candidates")

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        if config.exchange + config.hide > 1:
            raise RecipeError(f"objective {self.losses[0]}: exchange + hide: expected at most 1 together")
        self.head = build("heads", config.head, facts, backbone)
        self.mask: Any = build("objectives", config.mask, facts, backbone)
        self.losses = (*self.mask.losses, *self.losses)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        aligned = batch.entity_starts & (batch.entities >= 0)
        found, place = np.unique(batch.entities[aligned], return_inverse=True)
        labels = np.full(batch.ids.shape, IGNORE, np.int64)
        labels[aligned] = place
        padded = np.full(max(_MULTIPLE, -(-len(found) // _MULTIPLE) * _MULTIPLE), -1, np.int32)
        padded[: len(found)] = found
        u = rng.random(batch.ids.shape)
        other = rng.integers(0, max(self.facts.entities, 1), batch.ids.shape, dtype=np.int32)
        exchanged, hidden = u < self.config.exchange, u < self.config.exchange + self.config.hide
        shown = np.select([aligned & exchanged, aligned & hidden, aligned], [other, np.int32(-1), batch.entities], -1)
        candidates = np.broadcast_to(padded, (len(labels), len(padded)))
        return self.mask.view(batch.but(entities=shown, entity_labels=labels, candidates=candidates), rng)

    def counts(self, batch: Batch) -> dict[str, float]:
        return self.mask.counts(batch) | {self.losses[-1]: float((batch.entity_labels != IGNORE).sum())}

    def weights(self, step: int, total: int) -> dict[str, float]:
        weight = self.weight(step, total)
        inner = {name: weight * own for name, own in self.mask.weights(step, total).items()}
        return inner | {self.losses[-1]: weight}

    def visible(self, batch: Batch) -> Rule:
        return self.mask.visible(batch)

    def finish(self, batch: Batch) -> Batch:
        named = gather_targets(batch.but(labels=batch.entity_labels))
        return self.mask.finish(batch).but(entity_at=named.target_at, entity_targets=named.targets)

    def scores(self, out: Output, batch: Batch) -> Any:
        """A score for each candidate at each mention: m c."""
        states: Any = out.states
        return self.head(states.flatten(0, 1)[batch.entity_at], batch.candidates[0])

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        named = cross_entropy(self.scores(out, batch), batch.entity_targets)
        return self.mask.loss(out, batch) | {self.losses[-1]: named}

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        """accuracy: of tokens; entities: mentions whose entity is named rightly."""
        right = accuracy(self.scores(out, batch), batch.entity_targets)
        return self.mask.metrics(out, batch) | {"entities": Sum(right, (batch.entity_targets >= 0).sum())}

    def baselines(self, facts: Facts) -> dict[str, float]:
        return self.mask.baselines(facts)
