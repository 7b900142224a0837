"""Sentence vectors: two texts that belong together are to be closer than texts of other rows.

Sources: means of token states, Sentence-BERT, arXiv:1908.10084 §3; the other rows of the batch as negatives,
arXiv:1705.00652 §4.4 (both directions here). Not here: pictures and text (contrast.py)."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from modeledge.core import Batch, Output, PartConfig, Slot, Sum, part
from modeledge.losses.contrastive import symmetric_info_nce
from modeledge.losses.products import products
from modeledge.objectives._gather import gather
from modeledge.objectives._task import Task


class Embed(Task):
    """Unit vectors, compared by their cosine; a row holds the two texts of a pair (ids b 2 t)."""

    class Config(Task.Config):
        """scale: factor of the cosines in the softmax."""

        pool: Annotated[PartConfig | None, Slot("layers.pools")] = part("mean")
        scale: float = Field(20.0, gt=0)

    config: Config
    whole_batch = True

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(batch.size)}

    def vectors(self, out: Output, batch: Batch) -> Float[Tensor, "b d"] | Float[Tensor, "b 2 d"]:
        """Each text at length one, in fp32."""
        return F.normalize(self.vector(out, batch).float(), dim=-1)

    def cost(self, out: Output, batch: Batch) -> Sum:
        left, right = self.vectors(out, batch).unbind(1)
        all_left, all_right, first = left, right, 0
        if self.training:  # every process evaluates by itself
            (all_left, first), (all_right, _) = gather(left), gather(right)
        own = torch.arange(len(left), device=left.device) + first
        return symmetric_info_nce(left, right, own, scale=self.config.scale, all_left=all_left, all_right=all_right)

    def predict(self, out: Output, batch: Batch) -> Float[Tensor, "b d"] | Float[Tensor, "b 2 d"]:
        """The unit vector of each text."""
        return self.vectors(out, batch)

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        left, right = self.vectors(out, batch).unbind(1)
        own = torch.arange(len(left), device=left.device)
        found = (products(left, right).argmax(1) == own).sum()
        return {"found": Sum(found, torch.full((), len(left), device=left.device))}
