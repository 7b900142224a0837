"""Who may see whom. A rule is a function (b, h, q, k) -> bool on index tensors that broadcast.

`see` turns a rule into what attention takes; `both` and `either` combine rules; `draw` shows one as a picture. A rule
indexes tensors and compares, nothing else, so that the same function also serves FlexAttention's `create_block_mask`.
A row that may see nothing gives zeros (attention sees to that), never a uniform softmax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from modeledge.visibility.causal import causal as _causal
from modeledge.visibility.full import full as _full

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Seen:
    """Who sees whom in one batch, ready for attention.

    mask    bool b h t s (h is 1 unless the rule tells heads apart), True = may see; None: no mask is needed
    causal  each query sees the keys up to its own place; only without a mask and with t = s"""

    mask: Tensor | None = None
    causal: bool = False


def see(
    rule: Rule,
    b: int,
    t: int,
    s: int | None = None,
    *,
    device: torch.device | str,
    heads: int | None = None,
    start: int = 0,
) -> Seen:
    """The rule over b rows of t queries and s keys (default: as many as there are places up to the last query).

    start: the index of the first query, not 0 when earlier tokens are in a cache; heads: give the rule head indices.
    `full` needs no mask and `causal` is a flag, so that both reach the fused kernels."""
    s = start + t if s is None else s
    if rule is _full or (rule is _causal and t == 1 and s == start + 1):
        return Seen()
    if rule is _causal and start == 0 and s == t:
        return Seen(causal=True)
    mask = _table(rule, b, heads or 1, torch.arange(start, start + t, device=device), torch.arange(s, device=device))
    return Seen(mask.expand(b, heads or 1, t, s))


def both(one: Rule, other: Rule) -> Rule:
    """What both rules allow. Combining with `full` gives the other rule itself, so nothing is lost by asking."""
    if one is _full or one is other:
        return other
    if other is _full:
        return one

    def allowed(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return one(b, h, q, k) & other(b, h, q, k)

    return allowed


def either(one: Rule, other: Rule) -> Rule:
    """What at least one of the rules allows."""
    if one is _full or other is _full:
        return _full
    if one is other:
        return one

    def allowed(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return one(b, h, q, k) | other(b, h, q, k)

    return allowed


def draw(rule: Rule, n: int, s: int | None = None) -> list[str]:
    """The rule for the first row as a picture: a line a query, `#` for a key it sees, `.` for one it does not."""
    mask = _table(rule, 1, 1, torch.arange(n), torch.arange(n if s is None else s))
    shown = mask.expand(1, 1, n, n if s is None else s)[0, 0]
    return ["".join("#" if x else "." for x in row) for row in shown.tolist()]


def _table(rule: Rule, b: int, h: int, q: Tensor, k: Tensor) -> Tensor:
    rows, heads = (torch.arange(n, device=q.device) for n in (b, h))
    return rule(rows[:, None, None, None], heads[:, None, None], q[:, None], k)
