"""Cross-entropy over classes, plain and smoothed.

Not here: with the matrix the scores come from, for large vocabularies (linear_cross_entropy.py); sampled and adaptive
forms (sampled_softmax.py, negative_sampling.py)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.core import IGNORE, Sum


def cross_entropy(logits: Float[Tensor, "m v"], labels: Int[Tensor, " m"], *, smoothing: float = 0.0) -> Sum:
    """Sum of -log p(label), in nats, over labels != IGNORE; and how many there were.

    `smoothing` moves that share of the target's mass evenly to all classes (arXiv:1706.03762 §5.4)."""
    total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
    return Sum(total, (labels != IGNORE).sum())


def head_loss(
    head: nn.Module, states: Float[Tensor, "m d"], labels: Int[Tensor, " m"], *, smoothing: float = 0.0
) -> Sum:
    """`cross_entropy(head(states), labels)`, in the head's own way where it has one that need not hold all scores."""
    own = getattr(head, "loss", None)
    if own is None:
        return cross_entropy(head(states), labels, smoothing=smoothing)
    return own(states, labels, smoothing=smoothing)


def accuracy(logits: Float[Tensor, "m v"], labels: Int[Tensor, " m"]) -> Int[Tensor, ""]:
    """How many labels != IGNORE have the highest score."""
    return ((logits.argmax(-1) == labels) & (labels != IGNORE)).sum()


@torch.no_grad()
def count_right(
    states: Float[Tensor, "m d"], labels: Int[Tensor, " m"], head: nn.Module, *, chunk: int = 1024
) -> Int[Tensor, ""]:
    """`accuracy` of `head(states)`, a chunk at a time."""
    parts = zip(states.split(chunk), labels.split(chunk), strict=True)
    return torch.stack([accuracy(head(part), wanted) for part, wanted in parts]).sum()
