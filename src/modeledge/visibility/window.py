"""A band around the query. Sources: Sparse Transformer, arXiv:1904.10509 §4; Longformer, arXiv:2004.05150 §3.1."""

from __future__ import annotations

from torch import Tensor

from modeledge.visibility import Rule


def window(left: int, right: int = 0) -> Rule:
    """The query itself, `left` keys before it and `right` keys after it."""

    def near(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k >= q - left) & (k <= q + right)

    return near
