"""Tell which passage belongs to each query: all passages of the batch are candidates, or a few drawn from it.

Sources: DSSM (CIKM 2013) §3.3 (cosines times a factor, four random negatives); in-batch negatives on inner products,
ORQA, arXiv:1906.00300 §5, and DPR, arXiv:2004.04906 §3.2. Not here: hard negatives found by search."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Output, Sum
from modeledge.losses.contrastive import info_nce
from modeledge.losses.products import products
from modeledge.objectives import Objective, own_document
from modeledge.objectives._gather import gather
from modeledge.visibility import Seen, see
from modeledge.visibility.full import full


class Match(Objective):
    """Cross-entropy of each query's own passage among its candidates.

    A row whose passage is the same (`passage`) is never a negative."""

    class Config(Objective.Config):
        """similarity: inner product of the vectors, or of their directions; temperature: what similarities are divided
        by; negatives: so many other rows, drawn anew for each query (none: all others)."""

        similarity: Literal["product", "cosine"] = "product"
        temperature: float = Field(1.0, gt=0)
        negatives: int | None = Field(None, ge=1)

    config: Config
    needs = ("ids", "query_ids", "passage")
    whole_batch = True

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.rows = 0

    def prepare(self, rows: int) -> None:
        self.rows = rows

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Adds `among` b n: the rows of the whole batch each query is compared with."""
        own = np.eye(batch.size, dtype=bool)
        passage = np.asarray(batch.passage)
        other = passage[:, None] != passage
        if self.config.negatives is not None:
            score = np.where(other, rng.random(other.shape), 2.0)
            order = score.argsort(1)[:, : self.config.negatives]
            drawn = np.zeros_like(other)
            np.put_along_axis(drawn, order, True, axis=1)
            other &= drawn
        return batch.but(among=other | own)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(batch.size)}

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        return backbone(batch, sight(batch), **options)

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Float[Tensor, "b d"]]:
        """Vectors of what the batch has: `query`, `passage`, or both; their products are the similarities."""
        return self.vectors(self.run(backbone, batch))

    def vectors(self, out: Output) -> dict[str, Float[Tensor, "b d"]]:
        """Each tower's vector in fp32, at length one for cosines."""
        found = {name: tower.pooled.float() for name, tower in out.towers.items()}  # type: ignore[union-attr]
        if self.config.similarity == "cosine":
            found = {name: F.normalize(x, dim=-1) for name, x in found.items()}
        return found

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        query, passage, own = self.everyone(out)
        scale = 1 / self.config.temperature
        return {self.losses[0]: info_nce(query, passage, own, scale=scale, among=batch.among)}

    def everyone(self, out: Output) -> tuple[Tensor, Tensor, Tensor]:
        """The queries of this process, the passages of all while training, and the place of each query's own."""
        found = self.vectors(out)
        passage, first = gather(found["passage"]) if self.training else (found["passage"], 0)
        return found["query"], passage, torch.arange(len(found["query"]), device=passage.device) + first

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        query, passage, own = self.everyone(out)
        best = products(query, passage).masked_fill(~batch.among, float("-inf")).argmax(1)
        return {"accuracy": Sum((best == own).sum(), torch.full((), len(own), device=own.device))}

    def baselines(self, facts: Facts) -> dict[str, float]:
        candidates = self.rows if self.config.negatives is None else 1 + self.config.negatives
        return {"uniform": math.log(candidates)} if candidates else {}


def sight(batch: Batch) -> dict[str, Seen]:
    """Queries and passages see everything of their own."""
    found = {}
    for name, prefix in (("query", "query_"), ("passage", "")):
        if prefix + "ids" in batch:
            rows = Batch({k: batch[prefix + k] for k in ("ids", "valid") if prefix + k in batch})
            found[name] = see(own_document(rows, full), *rows.ids.shape, device=rows.ids.device)
    return found
