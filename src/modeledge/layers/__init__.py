"""The slots a Transformer is assembled from; each folder holds interchangeable parts and their base class."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """What a part must know of the stack it is built into.

    width       of the states
    heads       of attention, each `head_width` wide
    layers      of the stack
    dropout     the stack's own rate, where a part does not set one
    embedded    width at which tokens are embedded (smaller than `width` in a factorised embedding)
    grid        rows and columns of patches, for pictures
    layer       which of them the part belongs to
    past_only   each token sees only those before it, whatever it is shown (the decoder of an encoder-decoder)
    """

    width: int
    heads: int
    head_width: int
    layers: int = 1
    dropout: float = 0.0
    embedded: int = 0
    grid: tuple[int, int] | None = None
    layer: int = 0
    past_only: bool = False
