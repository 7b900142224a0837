"""Only one's own document, in rows that several documents are packed into."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from modeledge.visibility import Rule


def document(doc: Int[Tensor, "b t"], keys: Int[Tensor, "b s"] | None = None) -> Rule:
    """Keys of the query's document. `keys` numbers the documents of the keys where those are another sequence.

    Padding (-1) sees padding, so no row is empty; its states are never read."""
    key_doc = doc if keys is None else keys

    def same(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return doc[b, q] == key_doc[b, k]

    return same
