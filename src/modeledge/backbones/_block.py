"""One layer of a Transformer: branches joined to the residual stream, nothing decided here."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

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
