"""Contrast: among many keys, name the one that belongs to the query.

Sources: InfoNCE, arXiv:1807.03748 §2.3; its symmetric form on image-text pairs, CLIP, arXiv:2103.00020 fig. 3.
Not here: the gather over processes (objectives/_gather.py), queues of earlier keys."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from modeledge.core import Sum
from modeledge.losses.products import products

Targets = Int[Tensor, " b"] | Float[Tensor, "b n"]


def info_nce(
    queries: Float[Tensor, "b d"],
    keys: Float[Tensor, "n d"],
    targets: Targets,
    *,
    scale: Tensor | float,
    among: Bool[Tensor, "b n"] | None = None,
) -> Sum:
    """Sum over queries of the cross-entropy, in nats, of scale * query . key against `targets`; and how many queries.

    targets: the place of each query's key, or a distribution over the keys where several belong to it (`spread`);
    among: the keys each query is compared with, its own included (default: all)."""
    logits = scale * products(queries, keys)
    if among is not None:
        logits = logits.masked_fill(~among, float("-inf"))
    total = F.cross_entropy(logits, targets, reduction="sum")
    return Sum(total, torch.full((), len(queries), device=total.device))


def symmetric_info_nce(
    left: Float[Tensor, "b d"],
    right: Float[Tensor, "b d"],
    targets: Targets,
    *,
    scale: Tensor | float,
    all_left: Float[Tensor, "n d"] | None = None,
    all_right: Float[Tensor, "n d"] | None = None,
) -> Sum:
    """The mean of both directions: each left row among all right rows, and each right row among all left rows.

    The rows of other processes come in `all_left`, `all_right` (default: there are none)."""
    there = info_nce(left, right if all_right is None else all_right, targets, scale=scale)
    back = info_nce(right, left if all_left is None else all_left, targets, scale=scale)
    return Sum((there.total + back.total) / 2, there.count)


def spread(positive: Bool[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """The distribution that is uniform over each row's positive keys, of which there must be at least one."""
    return positive.float() / positive.sum(1, keepdim=True)
