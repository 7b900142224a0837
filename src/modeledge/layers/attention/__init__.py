"""Attention: the states of some tokens read by others. A kind is built with (config, sizes)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from modeledge.core import Part, PartConfig
from modeledge.layers import Sizes
from modeledge.layers.attention._blocked import blocked, matrix_units
from modeledge.layers.attention._cache import Cache
from modeledge.layers.attention._flex import flexed
from modeledge.layers.attention._near import Near, blocks, rows
from modeledge.layers.attention._packed import Packed
from modeledge.layers.attention._sparse import Sparse, sparse
from modeledge.layers.dropout import dropout as drop
from modeledge.layers.positions import Turn, stay

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

__all__ = ["Across", "Attention", "Cache", "Context", "Keep", "Packed", "attend", "weigh"]

Project = Callable[[Tensor, Turn, Packed | None], tuple[Tensor, Tensor]]


class Keep:
    """Collects the intermediates that were asked for, by name; `*` stands for one part (`blocks.*.attention`)."""

    def __init__(self, wanted: Collection[str] = ()):
        self.wanted = [pattern.split(".") for pattern in wanted]
        self.found: dict[str, Tensor] = {}

    def wants(self, name: str) -> bool:
        """Was this one asked for?"""
        parts = name.split(".")
        alike = (p for p in self.wanted if len(p) == len(parts))
        return any(all(a in ("*", b) for a, b in zip(p, parts, strict=True)) for p in alike)

    def __call__(self, name: str, x: Tensor) -> Tensor:
        if self.wants(name):
            self.found[name] = x
        return x


NOTHING = Keep()


@dataclass(frozen=True)
class Context:
    """What one layer's attention needs besides the states.

    name    under which its weights are kept and its keys and values cached, e.g. `blocks.3.attention`
    mask    bool b h t s (True = may see), or float to be added to the scores (-inf = may not); None: no mask
    causal  each query sees up to itself; only without a mask
    turn    what positions do to queries and keys
    packed  the states are the real tokens of padded rows, laid end to end (1 n d); None: rows as they are
    near    who sees whom in a band, instead of a mask, for kinds that are `local`
    flex    who sees whom as FlexAttention takes it, instead of a mask, for the same kinds
    made    masks that layers have made of this one, for those that need the same"""

    name: str = ""
    mask: Tensor | None = None
    causal: bool = False
    turn: Turn = stay
    keep: Keep = NOTHING
    cache: Cache | None = None
    packed: Packed | None = None
    near: Near | None = None
    flex: BlockMask | None = None
    made: dict[Any, Any] = field(default_factory=dict)

    def recall(self, x: Float[Tensor, "b t d"], project: Project) -> tuple[Tensor, Tensor]:
        """The keys and values to read: of the states themselves, and of those read before."""
        k, v = project(x, self.turn, self.packed)
        return (k, v) if self.cache is None else self.cache.extend(self.name, k, v)


@dataclass(frozen=True)
class Across(Context):
    """The context of cross-attention: keys and values come from `source` (b s d), whatever the queries are."""

    source: Tensor | None = None

    def recall(self, x: Float[Tensor, "b t d"], project: Project) -> tuple[Tensor, Tensor]:
        source = self.source
        assert source is not None
        if self.cache is None:
            return project(source, stay, None)
        return self.cache.once(self.name, lambda: project(source, stay, None))


class Attention(nn.Module, Part):
    """attention(x, context): what each token reads, b t d; on packed states (`context.packed`) the same, 1 n d.

    local: the kind reads `context.near` and, without dropout, `context.flex`; others are given the mask."""

    local = False

    def __init__(self, config: PartConfig, sizes: Sizes):
        super().__init__()

    def forward(self, x: Float[Tensor, "b t d"], context: Context) -> Float[Tensor, "b t d"]:
        raise NotImplementedError


LONGEST_PLAIN = 512
"""Keys up to which attention in bf16 on a CPU is computed by plain products, whose scores are stored."""

SHORTEST_BLOCKED = 2048
"""Keys from which on the backward pass in bf16 on a CPU with matrix units is computed in blocks of queries."""

SHORTEST_SPARSE = 512
"""Places of a row from which on a CPU looks at a mask and computes only blocks in which something is seen."""


def plain_is_faster(q: Tensor, k: Tensor, dropout: float) -> bool:
    """Whether plain matrix products beat torch's function, on a CPU: in bf16, where its fused kernel leaves the matrix
    units idle, above all backwards (`bench/attention.py`: 1.4 to 3 times as fast up to 512 keys; at 1,024 slower), and
    with dropout, which has no fused kernel."""
    if q.device.type != "cpu":
        return False
    return dropout > 0 or (q.dtype == torch.bfloat16 and k.shape[-2] <= LONGEST_PLAIN)


def blocks_are_faster(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> bool:
    """Whether the backward pass is worth its own way: on long rows in bf16 on a CPU with matrix units, unless the mask
    is learned too."""
    if q.device.type != "cpu" or q.dtype != torch.bfloat16 or k.shape[-2] < SHORTEST_BLOCKED or not matrix_units():
        return False
    if torch.compiler.is_compiling():
        return False
    learns = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    return learns and (mask is None or not mask.requires_grad)


def skipping(q: Tensor, k: Tensor, context: Context) -> Sparse | None:
    """The blocks that the mask leaves, where reading those alone pays, on a CPU; looked for once for all layers."""
    mask = context.mask
    if mask is None or mask.is_floating_point() or q.device.type != "cpu":
        return None
    if not SHORTEST_SPARSE <= q.shape[2] == k.shape[2]:
        return None
    if context.keep.wants(context.name) or torch.compiler.is_compiling():
        return None
    key = ("sparse", id(mask))  # layers may have masks of their own; kept beside its blocks, none can take its place
    if key not in context.made:
        context.made[key] = mask, sparse(mask.expand(len(q), -1, q.shape[2], k.shape[2]))
    return context.made[key][1]  # type: ignore[no-any-return]


def attend(
    q: Float[Tensor, "b h t dh"],
    k: Float[Tensor, "b h s dh"],
    v: Float[Tensor, "b h s dh"],
    context: Context,
    *,
    scale: float,
    dropout: float = 0.0,
) -> Float[Tensor, "b h t dh"]:
    """softmax(scale q k^T + mask) v; zeros for a query that may see nothing.

    Fused, unless the weights were asked for or plain products are faster; a band, and what a mask leaves where it is
    little, a block at a time."""
    if context.near is not None:
        near, (b, t) = context.near, (q.shape[0], q.shape[2])
        inside = replace(context, near=None, mask=near.rows)
        parts = blocks(q, near, keys=False), blocks(k, near, keys=True), blocks(v, near, keys=True)
        return rows(attend(*parts, inside, scale=scale, dropout=dropout), b, t)
    if context.flex is not None:
        return flexed(q, k, v, context.flex, scale=scale)
    if (known := skipping(q, k, context)) is not None:
        settings = {"scale": scale, "dropout": dropout}
        parts = known.parts(q, k, v)
        return known.join([attend(a, b, c, replace(context, mask=seen), **settings) for a, b, c, seen in parts])
    mask = context.mask
    if mask is not None and mask.is_floating_point():
        mask = mask.to(q.dtype)
    if not context.keep.wants(context.name) and not plain_is_faster(q, k, dropout):
        if blocks_are_faster(q, k, v, mask):
            return blocked(q, k, v, mask, causal=context.causal, scale=scale)
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=context.causal, dropout_p=dropout, scale=scale
        )
    return drop(weigh(q, k, context, scale=scale), dropout) @ v


def weigh(
    q: Float[Tensor, "b h t dh"],
    k: Float[Tensor, "b h s dh"],
    context: Context,
    *,
    scale: float,
    extra: Float[Tensor, "b h t s"] | None = None,
) -> Float[Tensor, "b h t s"]:
    """softmax(scale q k^T + extra + mask), kept if asked for; zeros for a query that may see nothing."""
    scores = (q * scale) @ k.transpose(-1, -2)
    scores = scores if extra is None else scores + extra
    bias, blind = _bias(context, scores)
    weights = (scores if bias is None else scores + bias).softmax(-1)
    return context.keep(context.name, weights if blind is None else weights.masked_fill(blind, 0.0))


def _bias(context: Context, scores: Float[Tensor, "b h t s"]) -> tuple[Tensor | None, Tensor | None]:
    """The mask as a term of the scores, and which queries see nothing; made once for all layers, if they share it."""
    mask, key = context.mask, ("bias", scores.dtype, scores.shape[-2:])
    if not context.causal and mask is None:
        return None, None
    known = context.made.get(key)
    if known is not None and known[0] is mask:
        return known[1:]  # type: ignore[return-value]
    # not -inf: gradients of a row that sees nothing stay finite; half, so that a score of fp16 can be added
    least, blind = torch.finfo(scores.dtype).min / 2, None
    if context.causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    else:
        assert mask is not None
        allowed = mask > float("-inf") if mask.is_floating_point() else mask
        blind = ~allowed.any(-1, keepdim=True)
        if blind.device.type == "cpu" and not torch.compiler.is_compiling() and not blind.any():
            blind = None  # the usual case, which spares every layer a pass over its weights
    if mask is not None and mask.is_floating_point():
        bias = mask.to(scores.dtype).clamp_min(least)
    else:
        bias = torch.zeros_like(allowed, dtype=scores.dtype).masked_fill(~allowed, least)
    if not bias.requires_grad:  # else each layer makes its own, so that recomputing one finds what it had
        context.made[key] = (mask, bias, blind)
    return bias, blind
