"""Who may see whom. A rule is a function (b, h, q, k) -> bool on index tensors that broadcast.

`see` turns a rule into what attention takes; `both` and `either` combine rules; `draw` shows one as a picture. A rule
indexes tensors and compares, nothing else, so that the same function also serves FlexAttention's `create_block_mask`.
A row that may see nothing gives zeros (attention sees to that), never a uniform softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from torch import Tensor

from modeledge.core.blocks import block_places, block_size, blocks_pay
from modeledge.visibility.causal import causal as _causal
from modeledge.visibility.full import full as _full

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Seen:
    """Who sees whom in one batch, ready for attention.

    mask    bool b h t s (h is 1 unless the rule tells heads apart), True = may see; None: no mask is needed
    causal  each query sees the keys up to its own place; only without a mask and with t = s"""

    mask: Tensor | None = None
    causal: bool = False


class Ruled(Seen):
    """Who sees whom in b whole rows of t places, for FlexAttention, which leaves out blocks of keys that no query of a
    block sees (`flex`); others take `mask`, made when it is asked for."""

    rule: Rule
    b: int
    t: int
    heads: int | None
    device: torch.device | str

    def __init__(self, rule: Rule, b: int, t: int, heads: int | None, device: torch.device | str):
        self.__dict__.update(rule=rule, b=b, t=t, heads=heads, device=device, causal=False)

    @cached_property
    def mask(self) -> Tensor:  # type: ignore[override]
        """Every query against every key: bool b h t t."""
        place = torch.arange(self.t, device=self.device)
        return _table(self.rule, self.b, self.heads or 1, place, place).expand(self.b, self.heads or 1, self.t, self.t)

    @cached_property
    def flex(self) -> BlockMask:
        """Which blocks there is something to see in, as FlexAttention takes it."""
        from torch.nn.attention.flex_attention import create_block_mask

        return create_block_mask(self.rule, self.b, self.heads, self.t, self.t, device=str(self.device))


class Near(Ruled):
    """Who sees whom where every query sees at most `left` keys before it and `right` after it, for attention that
    reads blocks of `size` queries with the keys near them (`table`)."""

    left: int
    right: int
    size: int

    def __init__(self, rule: Rule, b: int, t: int, heads: int | None, device: torch.device | str):
        super().__init__(rule, b, t, heads, device)
        left, right = map(int, reach(rule))
        self.__dict__.update(left=left, right=right, size=block_size(left, right))

    @cached_property
    def table(self) -> Bool[Tensor, "b h n c w"]:
        """n blocks of c queries, each against the w = left + c + right keys from `left` before its first one on."""
        q, k, there = block_places(self.t, self.left, self.right, self.device)
        rows, heads = (torch.arange(n, device=self.device) for n in (self.b, self.heads or 1))
        seen = self.rule(rows[:, None, None, None, None], heads[:, None, None, None], q, k) & there
        return seen.expand(self.b, self.heads or 1, *there.shape)

    @cached_property
    def rows(self) -> Bool[Tensor, "m h c w"]:
        """`table` with a row for each block, as attention takes it: laid out once for all layers."""
        return self.table.transpose(1, 2).flatten(0, 1)

    @staticmethod
    def pays(rule: Rule, t: int) -> bool:
        """Whether blocks read half the keys of a row at most."""
        return blocks_pay(*reach(rule), t)


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
    `full` needs no mask and `causal` is a flag, so that both reach the fused kernels; a band is `Near` in long rows,
    and on a GPU whole rows keep their rule."""
    s = start + t if s is None else s
    if rule is _full or (rule is _causal and t == 1 and s == start + 1):
        return Seen()
    if rule is _causal and start == 0 and s == t:
        return Seen(causal=True)
    if start == 0 and s == t and Near.pays(rule, t):
        return Near(rule, b, t, heads, device)
    if start == 0 and s == t and torch.device(device).type == "cuda":
        return Ruled(rule, b, t, heads, device)
    mask = _table(rule, b, heads or 1, torch.arange(start, start + t, device=device), torch.arange(s, device=device))
    return Seen(mask.expand(b, heads or 1, t, s))


def both(one: Rule, other: Rule) -> Rule:
    """What both rules allow. Combining with `full` gives the other rule itself, so nothing is lost by asking."""
    if one is _full or one is other:
        return other
    if other is _full:
        return one

    return _Both(one, other)


class _Both:
    """The rule of `both`: its reach is the shorter of the two on either side."""

    def __init__(self, one: Rule, other: Rule):
        self.one, self.other = one, other
        self.reach = tuple(map(min, reach(one), reach(other)))

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.one(b, h, q, k) & self.other(b, h, q, k)


def reach(rule: Rule) -> tuple[float, float]:
    """How many keys before and after the query the rule may allow, infinity where it does not say."""
    if rule is _causal:
        return math.inf, 0
    return getattr(rule, "reach", (math.inf, math.inf))


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
