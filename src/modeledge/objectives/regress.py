"""Give a text or a pair of texts a number, e.g. how similar two sentences are.

Source: STS-B as BERT and GPT are fine-tuned on it (squared error on the row's vector), arXiv:1810.04805 §4.1."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from modeledge.core import Batch, Output, PartConfig, Slot, Sum, part
from modeledge.objectives._task import Task


class Regress(Task):
    """One linear layer on the row's vector; the loss is the squared error in units of `scale`, not nats."""

    class Config(Task.Config):
        """center, scale: what is predicted is (number - center) / scale; usually mean and deviation in training."""

        head: Annotated[PartConfig | None, Slot("heads")] = part("classifier", dropout=0.1)
        center: float = 0.0
        scale: float = Field(1.0, gt=0)

    config: Config

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(batch.size)}

    def scores(self, out: Output, batch: Batch) -> Float[Tensor, " b"]:
        """The number, in units of `scale` from `center`."""
        vector = self.vector(out, batch)
        if vector.ndim == 3:
            vector = vector.sum(1)
        return self.head(vector)[:, 0].float()

    def cost(self, out: Output, batch: Batch) -> Sum:
        wanted = (batch.label.float() - self.config.center) / self.config.scale
        error = (self.scores(out, batch) - wanted).square()
        return Sum(error.sum(), torch.full((), len(error), device=error.device))

    def predict(self, out: Output, batch: Batch) -> Float[Tensor, " b"]:
        """The number."""
        return self.scores(out, batch) * self.config.scale + self.config.center
