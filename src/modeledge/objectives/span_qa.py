"""Answer a question by a span of a passage.

Source: SQuAD as BERT is fine-tuned on it, arXiv:1810.04805 §4.2-4.3: the first and the last token of the answer are
each chosen among all tokens of the window, the first token of the row standing for "no answer here"."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from modeledge.core import Batch, Output, PartConfig, Slot, Sum, part
from modeledge.losses.cross_entropy import accuracy, cross_entropy
from modeledge.objectives._task import Task


class SpanQA(Task):
    """One linear layer with two outputs on every state; the loss is the mean over both ends, in nats per window."""

    class Config(Task.Config):
        """Nothing more to set."""

        head: Annotated[PartConfig | None, Slot("heads")] = part("per_token", dropout=0.1)

    def outputs(self) -> int:
        return 2

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(batch.size)}

    def predict(self, out: Output, batch: Batch) -> Float[Tensor, "b t 2"]:
        """How well the answer could begin, and end, at each token; -inf at padding, which is no candidate."""
        scores = self.head(self.states(out, batch)).float()
        return scores.masked_fill(~batch.valid[..., None], float("-inf")) if "valid" in batch else scores

    def cost(self, out: Output, batch: Batch) -> Sum:
        begins, ends = self.predict(out, batch).unbind(-1)
        one, other = cross_entropy(begins, batch.begins), cross_entropy(ends, batch.ends)
        return Sum((one.total + other.total) / 2, one.count)

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        begins, ends = self.predict(out, batch).unbind(-1)
        n = torch.full((), len(begins), device=begins.device)
        return {"begin": Sum(accuracy(begins, batch.begins), n), "end": Sum(accuracy(ends, batch.ends), n)}
