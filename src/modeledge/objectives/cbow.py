"""CBOW: from the mean of its context, the word.

Source: Mikolov et al., arXiv:1301.3781 §3.1, with negative sampling or the hierarchical softmax, arXiv:1310.4546 §2;
the mean instead of the sum as in the released tool and gensim (cbow_mean = 1). They give each of n context words the
whole gradient of the mean; here it gets the n-th part that is its due (Irsoy et al., arXiv:2012.15332)."""

from __future__ import annotations

import torch

from modeledge.core import Batch, Output, Sum
from modeledge.objectives._context import WordContext
from modeledge.visibility.around import neighbours


class CBOW(WordContext):
    """Count: words that have a context; a word without one is no target."""

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(neighbours(batch).any(-1).sum())}

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        pairs = self.pairs(batch)
        sizes = pairs.sum(-1, keepdim=True)
        context = torch.bmm(pairs / sizes.clamp(min=1), out.states)  # type: ignore[arg-type]  # b t d
        return {self.losses[0]: self.head.words(context, batch, (sizes > 0).float())}
