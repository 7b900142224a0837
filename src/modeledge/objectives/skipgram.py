"""Skip-gram: from a word, each word of its context.

Source: Mikolov et al., arXiv:1301.3781 §3.2, with negative sampling, arXiv:1310.4546 §2.2. Pairs are never listed:
all scores of a row's words with each other are one matrix product, and the pairs are a mask over it."""

from __future__ import annotations

import torch
from torch import Tensor

from modeledge.core import Batch, Output, Sum
from modeledge.losses.negative_sampling import negative_sampling
from modeledge.objectives._context import WordContext, context_sizes


class SkipGram(WordContext):
    """Count: pairs of a word and a neighbour."""

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(context_sizes(batch).sum())}

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        pairs = self.pairs(batch)
        states: Tensor = out.states  # type: ignore[assignment]
        ids, drawn = batch.ids, batch.negatives
        true = torch.bmm(states, self.head.outputs(ids).mT)  # b t t
        noise = torch.bmm(states, self.head.outputs(drawn).mT)  # b t n
        same = (ids[:, :, None] == drawn[:, None, :]).float()
        rivals = pairs.sum(-1, keepdim=True) - torch.bmm(pairs, same)  # pairs of which the drawn word is not the truth
        return {self.losses[0]: negative_sampling(true, pairs, noise, rivals * self.head.share)}
