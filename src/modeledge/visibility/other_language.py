"""Targets see only the other language, everything else only its own: what is hidden is told from its translation alone.

Source: cross-attention masked language modelling, ERNIE-M, arXiv:2012.15674 §3.2."""

from __future__ import annotations

from jaxtyping import Bool, Int
from torch import Tensor

from modeledge.visibility import Rule


def other_language(lang: Int[Tensor, "b t"], target: Bool[Tensor, "b t"]) -> Rule:
    """A target sees itself and the tokens of other languages that are no targets; another token sees those of its own
    language that are no targets. So nothing of a target's own language reaches it, over any number of layers."""

    def allowed(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        across = lang[b, q] != lang[b, k]
        return (across == target[b, q]) & ~target[b, k] | target[b, q] & (k == q)

    return allowed
