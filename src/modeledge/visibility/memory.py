"""Keys of the segment before stand in front of the current ones.

Sources: Transformer-XL, arXiv:1901.02860 §3.2; XLNet, arXiv:1906.08237 §2.4. Queries are numbered within the current
segment, keys through memory and segment, so the query's own key is `length + q`."""

from __future__ import annotations

from torch import Tensor

from modeledge.visibility import Rule


def memory(length: int, *, reach: int | None = None) -> Rule:
    """Left to right over `length` remembered keys and the segment; `reach`: at most so many keys before the query.

    reach = length is Transformer-XL's "same length", where every query sees equally far."""

    def allowed(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        past = k - length <= q
        return past if reach is None else past & (q - (k - length) <= reach)

    return allowed


def after_memory(length: int, rule: Rule) -> Rule:
    """All of `length` remembered keys, and `rule` among those of the segment."""

    def allowed(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k < length) | rule(b, h, q, (k - length).clamp(min=0))

    return allowed
