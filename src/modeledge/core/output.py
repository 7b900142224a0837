"""What a backbone gives and what a loss gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Sum(NamedTuple):
    """A loss before division: the sum over targets in nats (fp32 scalar) and how many targets there were."""

    total: Tensor
    count: Tensor

    def mean(self) -> Tensor:
        """The sum over the count; zero where nothing was counted."""
        return self.total / self.count.clamp(min=1)


@dataclass
class Output:
    """What a backbone computed for a batch. Fields a backbone does not have stay None.

    states         b t d   the last states: of the encoder, or of the decoder in an encoder-decoder
    encoder_states b s d   the encoder's last states, encoder-decoders only
    query_states   b t d   the query stream's last states, two-stream models only
    pooled         b d     one vector a row, where the architecture defines one (pooler, [CLS] of a ViT)
    kept                   named intermediates asked for by `keep`, e.g. kept["blocks.3.attention"]: b h t s
    memory                 what the next segment may attend to (a list of b s d) or the recurrent state
    towers                 one Output a tower, dual backbones only
    cache                  keys and values for generation, opaque to everyone but the backbone
    """

    states: Tensor | None = None
    encoder_states: Tensor | None = None
    query_states: Tensor | None = None
    pooled: Tensor | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)
    memory: list[Tensor] | None = None
    towers: dict[str, Output] = field(default_factory=dict)
    cache: object | None = None
