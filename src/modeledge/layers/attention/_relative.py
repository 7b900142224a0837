"""Attention by content and by distance, for models with memory: one set of keys, any number of query streams.

score(q, k) = (q + u) . k  +  (q + v) . W R[distance]  +  (q + w) . S[same segment or not], over sqrt(head width).
Sources: Transformer-XL, arXiv:1901.02860 §3.3; relative segments: XLNet, arXiv:1906.08237 §2.5. Not a slot of the
unified Transformer: it takes distances, memory and segments beside the states (backbones/two_stream.py)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from modeledge.layers.dropout import dropout


class Keys(NamedTuple):
    """What every query stream of a layer attends to: keys and values b h s dh, distances projected h p dh, or b h p dh
    where rows are read in different directions."""

    k: Tensor
    v: Tensor
    r: Tensor


def distances(width: int, t: int, s: int, *, clamp: int | None = None, like: Tensor) -> Float[Tensor, "p d"]:
    """Sinusoids of the distances s, s - 1, ..., 1 - t between a query and a key, sines first, then cosines.

    The last of t queries stands at the last of s keys. `clamp`: distances beyond it count as it."""
    far = torch.arange(s, -t, -1.0, device=like.device)
    if clamp is not None:
        far = far.clamp(-clamp, clamp)
    rate = 10000 ** -(torch.arange(0, width, 2.0, device=like.device) / width)
    angle = far[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=-1).to(like.dtype)


def reverse(far: Float[Tensor, "p d"]) -> Float[Tensor, "p d"]:
    """The sinusoids of the same distances with the other sign, for rows that are read backwards (XLNet, bi_data)."""
    sines, cosines = far.chunk(2, -1)
    return torch.cat([-sines, cosines], dim=-1)


def shift(scores: Float[Tensor, "b h t p"], s: int) -> Float[Tensor, "b h t s"]:
    """Scores by distance as scores by key: row q of the result begins at column t - q."""
    b, h, t, p = scores.shape
    return scores.reshape(b, h, p, t)[:, :, 1:].reshape(b, h, t, p - 1)[..., :s]


class RelativeAttention(nn.Module):
    """No biases in the projections; `u`, `v` and `w` are learned vectors a head (w and S only with `segments`)."""

    light = ("read",)

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0, segments: bool = True):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.to_q, self.to_k, self.to_v, self.to_r, self.to_o = (nn.Linear(width, width, bias=False) for _ in range(5))
        head = width // heads
        self.content_bias, self.distance_bias = (nn.Parameter(torch.empty(heads, head)) for _ in range(2))
        self.segment_bias = nn.Parameter(torch.empty(heads, head)) if segments else None
        self.segments = nn.Parameter(torch.empty(2, heads, head)) if segments else None

    def vectors(self) -> list[nn.Parameter]:
        """u, v and what there is for segments, in this order."""
        found = (self.content_bias, self.distance_bias, self.segment_bias, self.segments)
        return [x for x in found if x is not None]

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # ... s d -> ... h s dh

    def keys(self, x: Float[Tensor, "b s d"], far: Float[Tensor, "*n p d"]) -> Keys:
        """Keys and values of memory and segment, and the projected distances."""
        return Keys(self._split(self.to_k(x)), self._split(self.to_v(x)), self._split(self.to_r(far)))

    def forward(
        self,
        x: Float[Tensor, "b m d"],
        keys: Keys,
        *,
        mask: Bool[Tensor, "#b #h m s"] | None,
        other: Bool[Tensor, "b m s"] | None = None,
        at: Int[Tensor, "b m"] | None = None,
        length: int | None = None,
    ) -> tuple[Float[Tensor, "b m d"], Float[Tensor, "b h m s"]]:
        """What the queries x gather, and with which weights. A query that sees nothing gathers zeros.

        at: places of the queries in a segment of `length` tokens (default: all of them); other: the query's segment is
        not the key's (default: they all are the same)."""
        gathered, weights = self.read(self._split(self.to_q(x)), keys, mask, other, at, length)
        return self.to_o(gathered.transpose(1, 2).flatten(2)), weights

    def read(
        self, q: Tensor, keys: Keys, mask: Tensor | None, other: Tensor | None, at: Tensor | None, length: int | None
    ) -> tuple[Float[Tensor, "b h m dh"], Float[Tensor, "b h m s"]]:
        """What every query gathers of the values, and the weights."""
        s, scale = keys.k.shape[2], q.shape[-1] ** -0.5
        by_distance = (q + self.distance_bias[:, None]) @ keys.r.transpose(-1, -2)
        if at is None:
            by_distance = shift(by_distance, s)
        else:
            assert length is not None
            column = (length - at)[:, None, :, None] + torch.arange(s, device=q.device)
            by_distance = by_distance.gather(-1, column.expand(-1, self.heads, -1, -1))
        scores = (q + self.content_bias[:, None]) @ keys.k.transpose(-1, -2) + by_distance
        if other is not None:
            assert self.segment_bias is not None and self.segments is not None
            same, differs = ((q + self.segment_bias[:, None]) @ self.segments.permute(1, 2, 0)).unbind(-1)
            scores = scores + torch.where(other[:, None], differs[..., None], same[..., None])
        scores = scores * scale
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.float().softmax(-1).to(scores.dtype)
        if mask is not None:
            weights = weights.masked_fill(~mask, 0.0)  # a row that sees nothing was uniform: nothing, not everything
        return dropout(weights, self.dropout, self.training) @ keys.v, weights
