"""A pointer and a generator: a word is written from the vocabulary or copied from the input, and a gate mixes the two.

Source: PALM, arXiv:2004.07159 §2.3 (additive attention to the encoder's last states; the gate reads what it found
and the decoder's state). p(w) = g softmax(scores)(w) + (1 - g) (sum of the attention to every place that holds w)."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from modeledge.core import Facts, Part, PartConfig, Slot, build, part
from modeledge.heads import linear

ROWS = 4
"""Rows of which every pair of places is held at once."""
NEVER = -1e4
"""The log of a probability that is zero for all practical purposes; finite, so that gradients are."""


class CopyHead(nn.Module, Part):
    class Config(PartConfig):
        """token: scores of the vocabulary."""

        token: Annotated[PartConfig, Slot("heads")] = part("token", transform="none")

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__()
        width: int = backbone.width  # type: ignore[assignment]
        self.token = build("heads", config.token, facts, backbone)
        self.source = linear(width, width, bias=False)
        self.state = linear(width, width)
        self.score = linear(width, 1, bias=False)
        self.gate = linear(2 * width, 1)

    def forward(
        self,
        states: Float[Tensor, "b u d"],
        source: Float[Tensor, "b s d"],
        ids: Int[Tensor, "b s"],
        copied: Bool[Tensor, "b s"],
    ) -> Float[Tensor, "b u v"]:
        """Log-probabilities. `source`: the encoder's states; `ids`: what stands there; `copied`: may be copied.

        A row with nothing to copy is written from the vocabulary alone."""
        weights, gate = self.point(states, source, copied)
        written = F.log_softmax(self.token(states).float(), -1)
        at = ids[:, None].expand_as(weights)
        copy = torch.zeros_like(written).scatter_add(-1, at, weights)
        some = copy > 0
        read = torch.where(some, copy.where(some, torch.ones_like(copy)).log(), NEVER)
        return torch.logaddexp(F.logsigmoid(gate) + written, F.logsigmoid(-gate) + read)

    def point(
        self, states: Float[Tensor, "b u d"], source: Float[Tensor, "b s d"], copied: Bool[Tensor, "b s"]
    ) -> tuple[Float[Tensor, "b u s"], Float[Tensor, "b u 1"]]:
        """Where each decoder state looks (fp32, sums to 1) and the logit of writing from the vocabulary."""
        parts = zip(self.source(source).split(ROWS), self.state(states).split(ROWS), strict=True)
        fits = [checkpoint(self.fit, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
        scores = torch.cat(fits).float().masked_fill(~copied[:, None], float("-inf"))  # type: ignore[arg-type]
        some = copied.any(-1)[:, None, None]
        weights = scores.masked_fill(~some, 0.0).softmax(-1) * some
        found = weights.to(source.dtype) @ source
        gate = self.gate(torch.cat([found, states], -1)).float()
        return weights, gate.masked_fill(~some, -NEVER)

    def fit(self, source: Float[Tensor, "b s d"], states: Float[Tensor, "b u d"]) -> Float[Tensor, "b u s"]:
        """How well each place fits each decoder state; by way of b u s d, which nobody keeps."""
        return self.score(torch.tanh(source[:, None] + states[:, :, None])).squeeze(-1)
