"""A decoder looking at its encoder."""

from __future__ import annotations

from jaxtyping import Bool, Int
from torch import Tensor

from modeledge.visibility import Rule, both
from modeledge.visibility.document import document
from modeledge.visibility.full import full
from modeledge.visibility.valid import valid


def cross(
    keys: Bool[Tensor, "b s"] | None = None,
    *,
    docs: tuple[Int[Tensor, "b t"], Int[Tensor, "b s"]] | None = None,
) -> Rule:
    """Every encoder place that is not padding (`keys`), in packed rows those of one's own document (`docs`)."""
    rule = full if keys is None else valid(keys)
    return rule if docs is None else both(rule, document(docs[0], docs[1]))
