"""Padding is seen by nobody."""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor

from modeledge.visibility import Rule


def valid(valid: Bool[Tensor, "b s"]) -> Rule:
    """Keys that are not padding."""

    def real(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return valid[b, k]

    return real
