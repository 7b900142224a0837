"""Levels of a backbone that is made of others."""

from __future__ import annotations

from collections.abc import Sequence

Levels = list[tuple[str, ...]]
"""Names of parts in groups from the input to the output."""


def within(prefix: str, levels: Sequence[tuple[str, ...]]) -> Levels:
    """The levels of a part, as its owner names them."""
    return [tuple(f"{prefix}.{name}" for name in names) for names in levels]


def chained(encoder: Levels, decoder: Levels) -> Levels:
    """Those of an encoder and then of a decoder; what both read with is one level, because they may share it."""
    return [encoder[0] + decoder[0], *encoder[1:], *decoder[1:]]


def abreast(*sides: Levels) -> Levels:
    """Those of networks side by side, counted from the output; the input of a lower one stands with the deepest's."""
    depth = max(map(len, sides))
    padded = [[side[0], *[()] * (depth - len(side)), *side[1:]] for side in sides]
    return [tuple(name for names in level for name in names) for level in zip(*padded, strict=True)]
