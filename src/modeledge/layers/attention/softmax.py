"""Multi-head scaled dot-product attention.

Sources: arXiv:1706.03762 §3.2; normalised queries and keys: Henry et al., arXiv:2010.04245 §2, in the form of Dehghani
et al., arXiv:2302.05442 §2 (a norm with a learned gain over each head, before any rotation)."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import PartConfig, Slot, build
from modeledge.layers import Sizes
from modeledge.layers.attention import Attention, Context, Packed, attend
from modeledge.layers.positions import Turn


class Softmax(Attention):
    class Config(PartConfig):
        """scale: of the scores before the softmax (default: one over the root of the head's width; T5 has 1);
        bias: in the four projections; norm: of each head's queries and keys; dropout: on the weights, which rules the
        fused kernel out on CPUs."""

        scale: float | None = Field(None, gt=0)
        bias: bool = True
        norm: Annotated[PartConfig | None, Slot("layers.norms")] = None
        dropout: float = Field(0.0, ge=0, lt=1)

    local = True
    light = ("read",)

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        inner = sizes.heads * sizes.head_width
        self.heads = sizes.heads
        self.scale = config.scale or sizes.head_width**-0.5
        self.dropout = config.dropout
        self.to_q = nn.Linear(sizes.width, inner, bias=config.bias)
        self.to_k = nn.Linear(sizes.width, inner, bias=config.bias)
        self.to_v = nn.Linear(sizes.width, inner, bias=config.bias)
        self.to_out = nn.Linear(inner, sizes.width, bias=config.bias)
        width = sizes.head_width
        self.norm_q = build("layers.norms", config.norm, width) if config.norm else nn.Identity()
        self.norm_k = build("layers.norms", config.norm, width) if config.norm else nn.Identity()

    def forward(self, x: Float[Tensor, "b t d"], context: Context) -> Float[Tensor, "b t d"]:
        q = context.turn(self.norm_q(self.split(self.to_q(x), context.packed)))
        k, v = context.recall(x, self.project)
        read = self.read(q, k, v, self.narrow(context, q, k)).transpose(1, 2).flatten(2)  # b h t dh -> b t d
        return self.to_out(read if context.packed is None else context.packed.pack(read))

    def read(self, q: Tensor, k: Tensor, v: Tensor, context: Context) -> Float[Tensor, "b h t dh"]:
        """What every query gathers of the values."""
        return attend(q, k, v, context, scale=self.scale, dropout=self.dropout if self.training else 0.0)

    def narrow(self, context: Context, q: Float[Tensor, "b h t dh"], k: Float[Tensor, "b h s dh"]) -> Context:
        """What the queries see of the keys in this layer (the last stands at the last key). Default: all they may."""
        return context

    def project(self, x: Float[Tensor, "b s d"], turn: Turn, packed: Packed | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values of the states: b h s dh each."""
        return turn(self.norm_k(self.split(self.to_k(x), packed))), self.split(self.to_v(x), packed)

    def split(self, x: Tensor, packed: Packed | None) -> Tensor:
        """b t (h dh) -> b h t dh."""
        x = x if packed is None else packed.spread(x)
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
