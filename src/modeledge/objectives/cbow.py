"""CBOW: from the mean of its context, the word.

Source: Mikolov et al., arXiv:1301.3781 §3.1, with negative sampling, arXiv:1310.4546 §2.2; the mean instead of the
sum as in the released tool and gensim (cbow_mean = 1). They give each of n context words the whole gradient of the
mean; here it gets the n-th part that is its due (Irsoy et al., arXiv:2012.15332)."""

from __future__ import annotations

import torch
from torch import Tensor

from modeledge.core import Batch, Output, Sum
from modeledge.losses.negative_sampling import negative_sampling
from modeledge.objectives._context import WordContext, context_sizes


class CBOW(WordContext):
    """Count: words that have a context; a word without one is no target."""

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float((context_sizes(batch) > 0).sum())}

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        pairs = self.pairs(batch)
        sizes = pairs.sum(-1, keepdim=True)
        has = (sizes > 0).float()  # b t 1
        states: Tensor = out.states  # type: ignore[assignment]
        context = torch.bmm(pairs / sizes.clamp(min=1), states)  # b t d
        true = (context * self.head.outputs(batch.ids)).sum(-1, keepdim=True)
        noise = torch.bmm(context, self.head.outputs(batch.negatives).mT)  # b t n
        rivals = has * (batch.ids[:, :, None] != batch.negatives[:, None, :])
        return {self.losses[0]: negative_sampling(true, has, noise, rivals * self.head.share)}
