"""A prefix read in both directions, then left to right: one mask under three names.

Sources: UniLM's sequence-to-sequence mask, arXiv:1905.03197 §2.3; the prefix LM of T5, arXiv:1910.10683 §3.2.1; GLM,
arXiv:2103.10360 §2.1."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from modeledge.visibility import Rule


def prefix(lengths: Int[Tensor, " b"]) -> Rule:
    """The first `lengths[b]` keys, and every key up to the query itself."""

    def allowed(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k < lengths[b]) | (k <= q)

    return allowed
