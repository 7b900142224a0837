"""Cross-entropy against a sample of the vocabulary, corrected for how likely each class is to be in the sample.

Source: Jean et al., arXiv:1412.2007 §3; Bengio and Senecal, 2008. Unbiased in the limit of many samples, not for few:
evaluation uses the full softmax."""

from __future__ import annotations

import torch
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
    """Sum of -log p(label) in nats over labels != IGNORE, with the label and `sample` as the only classes; the count.

    `log_expected` is the log of how often each class is expected in the sample; it is taken off every score. A sampled
    class that is the label itself counts once, as the label."""
    counted = labels != IGNORE
    safe = labels.where(counted, 0)
    true = ((states * weight[safe]).sum(-1) + bias[safe]).float() - log_expected[safe]
    other = torch.addmm(bias[sample], states, weight[sample].T).float() - log_expected[sample]  # m n
    other = other.masked_fill(sample == safe[:, None], -1e30)  # finite: a row whose whole sample is its label keeps a gradient
    total = torch.logaddexp(true, other.logsumexp(-1)) - true
    return Sum(torch.where(counted, total, 0.0).sum(), counted.sum())
