"""One layer of a Transformer: branches joined to the residual stream, nothing decided here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from modeledge.core import build
from modeledge.layers import Sizes
from modeledge.layers.attention import Across, Attention, Context
from modeledge.layers.joins import Join


class Block(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, attention: Attention, ffn: nn.Module, joins: tuple[Join, Join]):
        super().__init__()
        self.attention, self.ffn = attention, ffn
        self.join_attention, self.join_ffn = joins

    def forward(self, x: Float[Tensor, "b t d"], context: Context) -> Float[Tensor, "b t d"]:
        x = self.join_attention(x, self.attention, context)
        return self.join_ffn(x, self.ffn)


class CrossBlock(nn.Module):
    """Attention, attention to an encoder, feed-forward."""

    def __init__(self, attention: Attention, cross: Attention, ffn: nn.Module, joins: tuple[Join, Join, Join]):
        super().__init__()
        self.attention, self.cross, self.ffn = attention, cross, ffn
        self.join_attention, self.join_cross, self.join_ffn = joins

    def forward(self, x: Float[Tensor, "b t d"], context: Context, across: Across) -> Float[Tensor, "b t d"]:
        x = self.join_attention(x, self.attention, context)
        x = self.join_cross(x, self.cross, across)
        return self.join_ffn(x, self.ffn)


def make_blocks(config: Any, sizes: Sizes, *, cross: bool) -> nn.ModuleList:
    """The stack's blocks. Layers that share a branch (with its norm) hold the same modules."""
    made: dict[tuple[str, int], Any] = {}

    def once(branch: str, layer: int, make: Callable[[], nn.Module]) -> tuple[Any, Join]:
        shared = config.share in ("all", branch)
        key = (branch, layer * config.groups // config.layers if shared else layer)
        if key not in made:
            norm = partial(build, "layers.norms", config.norm, sizes.width)
            made[key] = make(), build("layers.joins", config.join, norm, dropout=sizes.dropout)
        return made[key]

    def attention(layer: int) -> nn.Module:
        return build("layers.attention", config.attention, replace(sizes, layer=layer))

    blocks = nn.ModuleList()
    for layer in range(config.layers):
        reads, read_join = once("attention", layer, partial(attention, layer))
        thinks, think_join = once("ffn", layer, lambda: build("layers.ffn", config.ffn, sizes))
        if cross:
            looks, look_join = once("cross", layer, partial(attention, layer))
            blocks.append(CrossBlock(reads, looks, thinks, (read_join, look_join, think_join)))
        else:
            blocks.append(Block(reads, thinks, (read_join, think_join)))
    return blocks
