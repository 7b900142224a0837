"""A band around the query. Sources: Sparse Transformer, arXiv:1904.10509 §4; Longformer, arXiv:2004.05150 §3.1."""

from __future__ import annotations

from torch import Tensor

from modeledge.visibility import Rule


def window(left: int, right: int = 0) -> Rule:
    """The query itself, `left` keys before it and `right` keys after it."""
    return _Near(left, right)


class _Near:
    """The rule; `reach` lets attention pass over what is further away."""

    def __init__(self, left: int, right: int):
        self.reach = left, right

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        left, right = self.reach
        return (k >= q - left) & (k <= q + right)
