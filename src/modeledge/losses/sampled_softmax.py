"""Cross-entropy against a sample of the vocabulary: the normaliser is estimated by importance sampling.

Source: Bengio and Senecal, 2008; Jean et al., arXiv:1412.2007 §3. The label's own term is exact, so the loss can be
compared with the full one, below which it lies a little (the log of an estimate); evaluation uses the full softmax."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from modeledge.core import IGNORE, Sum


def sampled_cross_entropy(
    states: Float[Tensor, "m d"],
    labels: Int[Tensor, " m"],
    *,
    weight: Float[Tensor, "v d"],
    bias: Float[Tensor, " v"],
    sample: Int[Tensor, " n"],
    log_expected: Float[Tensor, " v"],
) -> Sum:
    """Sum of -log p(label) in nats over labels != IGNORE; the count.

    `sample` holds classes drawn with replacement and `log_expected` the log of how often each class is expected in it,
    which is taken off its score; draws of the label itself are left out, it is there already."""
    counted = labels != IGNORE
    safe = labels.where(counted, 0)
    true = (states.float() * weight[safe]).sum(-1) + bias[safe]
    other = torch.addmm(bias[sample] - log_expected[sample], states, weight[sample].T)  # m n
    other = other.masked_fill_(sample == safe[:, None], torch.finfo(other.dtype).min)
    logits = torch.cat([true[:, None].float(), other.float()], 1)
    total = F.cross_entropy(logits, torch.where(counted, 0, IGNORE), ignore_index=IGNORE, reduction="sum")
    return Sum(total, counted.sum())
