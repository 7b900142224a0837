"""Keys and values of what was read before, kept while generating."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Pair = tuple[Tensor, Tensor]


class Cache:
    """One generation's memory; a backbone fills it, everyone else only passes it on.

    length: tokens read so far; source: the encoder's states and who may see them, encoder-decoders only."""

    def __init__(self) -> None:
        self.pairs: dict[str, Pair] = {}
        self.room: dict[str, Pair] = {}  # what the pairs are the first places of
        self.fixed: dict[str, Pair] = {}
        self.source: tuple[Tensor, Tensor | None] | None = None
        self.length = 0

    def extend(self, name: str, k: Tensor, v: Tensor) -> Pair:
        """The layer's keys and values with the new ones appended: b h s dh. Where there is no room for them, as much
        again is made, so that all in all hardly more is copied than is appended."""
        if name not in self.pairs:
            self.pairs[name] = k, v
            return k, v
        n = self.pairs[name][0].shape[2]
        s = n + k.shape[2]
        if name not in self.room or self.room[name][0].shape[2] < s:
            self.room[name] = _wider(self.pairs[name][0], 2 * s), _wider(self.pairs[name][1], 2 * s)
        for place, new in zip(self.room[name], (k, v), strict=True):
            place[:, :, n:s] = new
        k, v = (place[:, :, :s] for place in self.room[name])
        self.pairs[name] = k, v
        return k, v

    def once(self, name: str, make: Callable[[], Pair]) -> Pair:
        """Keys and values that never change, made at the first asking."""
        if name not in self.fixed:
            self.fixed[name] = make()
        return self.fixed[name]

    def forget(self, n: int) -> None:
        """Drop the last n tokens, which were read only to see what they predict."""
        self.length -= n
        self.pairs = {name: (k[:, :, : self.length], v[:, :, : self.length]) for name, (k, v) in self.pairs.items()}

    def reorder(self, rows: Tensor) -> None:
        """Keep these rows in this order, as beam search asks; a row may come several times."""
        self.pairs, self.room = {n: (k[rows], v[rows]) for n, (k, v) in self.pairs.items()}, {}
        self.fixed = {n: (k[rows], v[rows]) for n, (k, v) in self.fixed.items()}
        if self.source is not None:
            states, mask = self.source
            self.source = states[rows], None if mask is None else mask[rows]


def _wider(held: Tensor, places: int) -> Tensor:
    """The same at the beginning of so many places."""
    room = held.new_empty(*held.shape[:2], places, held.shape[3])
    room[:, :, : held.shape[2]] = held
    return room
