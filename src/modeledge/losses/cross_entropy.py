"""Cross-entropy over classes: plain, smoothed, and chunked for losses at every position.

Not here: sampled and adaptive forms (negative_sampling.py)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from modeledge.core import IGNORE, Sum


def cross_entropy(logits: Float[Tensor, "m v"], labels: Int[Tensor, " m"], *, smoothing: float = 0.0) -> Sum:
    """Sum of -log p(label), in nats, over labels != IGNORE; and how many there were.

    `smoothing` moves that share of the target's mass evenly to all classes (arXiv:1706.03762 §5.4)."""
    total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
    return Sum(total, (labels != IGNORE).sum())


def chunked_cross_entropy(
    states: Float[Tensor, "m d"],
    labels: Int[Tensor, " m"],
    head: nn.Module,
    *,
    chunk: int = 1024,
    smoothing: float = 0.0,
) -> Sum:
    """Cross-entropy of `head(states)` without ever holding all m x v logits: each chunk is recomputed in the backward.

    Equal to `cross_entropy(head(states), labels)` up to the order of summation; memory is chunk x v, not m x v."""
    total = states.new_zeros((), dtype=torch.float32)
    for part, wanted in zip(states.split(chunk), labels.split(chunk), strict=True):
        total = total + checkpoint(_total, head, part, wanted, smoothing, use_reentrant=False, preserve_rng_state=False)
    return Sum(total, (labels != IGNORE).sum())


def _total(head: nn.Module, states: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    return cross_entropy(head(states), labels, smoothing=smoothing).total


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
