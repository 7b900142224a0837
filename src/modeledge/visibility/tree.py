"""Facts hung onto a sentence as branches: a branch and the words it hangs on see each other, nobody else sees it.

Source: K-BERT, arXiv:1909.07606 §3.4 (the visible matrix)."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from modeledge.visibility import Rule


def tree(branch: Int[Tensor, "b t"], anchor: Int[Tensor, "b t"]) -> Rule:
    """Tokens of one branch (0: the sentence) see each other; a branch and the sentence where they share an anchor.

    Branches do not see each other, even those of one word."""

    def allowed(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        one, other = branch[b, q], branch[b, k]
        hangs = ((one == 0) != (other == 0)) & (anchor[b, q] == anchor[b, k])
        return (one == other) | hangs

    return allowed
