"""Cross-lingual contrast: name a sentence's translation among many, by the first token's state in a middle layer.

Source: InfoXLM, arXiv:2007.07834 §3.2-3.3 and the released settings: a momentum twin encodes the keys, a queue holds
the negatives, dot products are not normalised, one projection serves all languages, and with mixup both sides go on
with another pair. Not here: MLM and TLM beside it (mlm.py), contrast within the batch (contrast.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, RecipeError, Sum
from modeledge.heads import linear
from modeledge.objectives import Objective, own_document
from modeledge.objectives._momentum import Queue, Twin, against_queue
from modeledge.views.arrange.concatenate import followed_by
from modeledge.visibility import see
from modeledge.visibility.full import full


class CrossLingualContrast(Objective):
    """Reads pairs as two texts of a row: ids b 2 t. The query is either text by turns, the key is the other's."""

    class Config(Objective.Config):
        """layer: whose states are compared (0: the embedding); queue: keys kept; momentum: of the twin; temperature: of
        the dot products; mixup: share of pairs both of whose texts go on with those of another pair."""

        layer: int = Field(8, ge=0)
        queue: int = Field(131_072, ge=1)
        momentum: float = Field(0.9999, ge=0, lt=1)
        temperature: float = Field(0.25, gt=0)
        mixup: float = Field(0.5, ge=0, le=1)

    config: Config
    needs = ("ids", "valid")

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        if config.layer > backbone.config.layers:
            raise RecipeError(
                f"objective {self.losses[0]}: layer: {config.layer} of a backbone of {backbone.config.layers} layers"
            )
        self.reads = f"blocks.{config.layer - 1}" if config.layer else "embedding"
        self.project = linear(backbone.width, backbone.width, bias=False)
        self.twin = Twin(backbone, self.project, momentum=config.momentum)
        self.queue = Queue(config.queue, backbone.width)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        b = batch.size
        fields = [name for name in ("ids", "valid", "lang", "special") if name in batch]
        mixed, turn = rng.random(b) < self.config.mixup, 1 + rng.integers(0, max(b - 1, 1))
        front = rng.random((b, 2)) < 0.5  # whose text stands in front, on either side by itself
        other = (np.arange(b) + turn) % b
        sides = [self._mixed(batch, fields, i, other, mixed, front[:, i]) for i in (0, 1)]
        swapped = rng.random(b) < 0.5  # which of the two is the query
        turned = np.where(swapped[:, None], [[1, 0]], [[0, 1]])[:, :, None]
        return batch.but(
            **{k: np.take_along_axis(np.stack([one[k] for one in sides], 1), turned, axis=1) for k in fields}
        )

    def _mixed(
        self, batch: Batch, fields: list[str], side: int, other: np.ndarray, mixed: np.ndarray, front: np.ndarray
    ) -> Batch:
        """One text of each row; of the mixed ones with that of the `other` row behind or in front of it."""
        own = np.arange(batch.size)
        first, second = np.where(front, other, own), np.where(front, own, other)
        first = np.where(mixed, first, own)
        t = batch.ids.shape[2]
        n, m = batch.valid[first, side].sum(1), batch.valid[second, side].sum(1)
        skip = int("cls" in self.facts.special)
        later, at, real = followed_by(n, np.where(mixed, m, 0), t, skip=skip)
        row = np.where(later, second[:, None], first[:, None])
        found = Batch({k: batch[k][row, side, at] for k in fields})
        found["ids"] = np.where(real, found.ids, self.facts.pad).astype(batch.ids.dtype)
        return found.but(valid=real)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(batch.size)}

    def forward(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        left, right = (Batch({k: v[:, i] for k, v in batch.items() if v.ndim == 3}) for i in (0, 1))
        queries = self.vectors(backbone, self.project, left)
        with torch.no_grad():
            self.twin.begin()
            keys = self.vectors(self.twin.copies[0], self.twin.copies[1], right)
        if self.training:
            self.queue.note(keys)
        total = against_queue(queries, keys, self.queue, temperature=self.config.temperature)
        return {self.losses[0]: Sum(total, torch.full((), batch.size, device=total.device))}

    def vectors(self, backbone: nn.Module, project: nn.Module, texts: Batch) -> Float[Tensor, "b d"]:
        """The projected first state of each text at the layer compared."""
        seen = see(own_document(texts, full), *texts.ids.shape, device=texts.ids.device)
        return project(backbone(texts, seen, keep=(self.reads,)).kept[self.reads][:, 0])

    def after_step(self, step: int) -> None:
        self.twin.move()
        self.queue.settle()
