"""XLNet's two streams: the order in which tokens are predicted decides who sees whom, positions stay as they are.

Source: arXiv:1906.08237 §2.2-2.3 and the masks of its released data code. A token's rank is its place in the sampled
order; a token that is neither a target nor functional ([CLS], [SEP], padding) has rank -1: all see it, and it sees no
target. A functional token has its place in the order but, unlike a target, sees its own content."""

from __future__ import annotations

from jaxtyping import Bool, Int
from torch import Tensor

from modeledge.visibility import Rule


def query(rank: Int[Tensor, "b t"], target: Bool[Tensor, "b t"]) -> Rule:
    """What the query stream sees: the tokens before it in the order, its own content not if it is a target.

    The first target of an order may see nothing at all."""
    reach = rank + (~target).long()

    def before(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return reach[b, q] > rank[b, k]

    return before


def content(rank: Int[Tensor, "b t"], target: Bool[Tensor, "b t"]) -> Rule:
    """What the content stream sees: the same and itself."""
    before = query(rank, target)

    def up_to(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return before(b, h, q, k) | (k == q)

    return up_to
