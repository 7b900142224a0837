"""Randomness as a function of place: generators keyed by what they draw for, and permutations without an array.

Nothing here keeps state between calls, so any step's batch can be rebuilt without the steps before it.
"""

from __future__ import annotations

import hashlib

import numpy as np


def seed_of(*key: int | str) -> int:
    """A 63-bit integer that depends on every element of `key` and on nothing else."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def keyed(*key: int | str) -> np.random.Generator:
    """A fresh generator for this key, e.g. `keyed(seed, "mlm", epoch, step)`. Costs about 20 microseconds."""
    return np.random.Generator(np.random.Philox(key=seed_of(*key)))


class Shuffle:
    """A keyed bijection of 0..n-1: a permutation of any size that needs no array.

    A four-round Feistel network over the next even power of two, walked until the value falls inside the range
    (at most a few rounds for the few that fall outside)."""

    def __init__(self, n: int, *key: int | str):
        if n <= 0:
            raise ValueError(f"a shuffle needs at least one row, got n={n}")
        self.n = n
        self.half = max(1, (int(n - 1).bit_length() + 1) // 2)
        self.mask = np.uint64((1 << self.half) - 1)
        self.keys = [np.uint64(seed_of(*key, "feistel", i)) for i in range(4)]

    def _mix(self, x: np.ndarray) -> np.ndarray:
        left, right = x >> np.uint64(self.half), x & self.mask
        for key in self.keys:
            h = (right + key) * np.uint64(0x9E3779B97F4A7C15)
            h = (h ^ (h >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((h >> np.uint64(32)) & self.mask)
        return (left << np.uint64(self.half)) | right

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """Where the rows `index` (each in 0..n-1) go. Raises ValueError for an index outside the range."""
        x = np.asarray(index, dtype=np.uint64)
        if x.size and int(x.max()) >= self.n:
            raise ValueError(f"index {int(x.max())} is outside 0..{self.n - 1}")
        with np.errstate(over="ignore"):
            x = self._mix(x)
            while (outside := x >= self.n).any():
                x = np.where(outside, self._mix(x), x)
        return x.astype(np.int64)


class RowRandom:
    """Draws that depend on the row they are for, not on the batch the row stands in: static masks stay static.

    The part of numpy's Generator that views use, with the row as the first dimension of every shape; each call
    continues a counter, so the order of calls matters and the neighbours of a row do not."""

    def __init__(self, rows: np.ndarray, *key: int | str):
        self.rows = np.asarray(rows, np.uint64)
        self.key = np.uint64(seed_of(*key))
        self.calls = 0

    def _bits(self, shape: tuple[int, ...]) -> np.ndarray:
        if not shape or shape[0] != len(self.rows):
            raise ValueError(f"expected a shape of {len(self.rows)} rows, got {shape}")
        self.calls += 1
        column = np.arange(int(np.prod(shape[1:], dtype=np.int64)), dtype=np.uint64)
        with np.errstate(over="ignore"):
            x = (
                self._spread(self.rows + self.key + np.uint64(self.calls) * np.uint64(0xD1342543DE82EF95))[:, None]
                + column
            )
            x = self._spread(x)
        return x.reshape(shape)

    @staticmethod
    def _spread(x: np.ndarray) -> np.ndarray:
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))

    def random(self, shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
        """Uniform in [0, 1)."""
        return ((self._bits(shape) >> np.uint64(40)).astype(np.float64) / 2**24).astype(dtype)

    def integers(self, low: int, high: int, shape: tuple[int, ...], dtype: type = np.int64) -> np.ndarray:
        """Uniform in low..high-1."""
        return (low + (self._bits(shape) % np.uint64(high - low)).astype(np.int64)).astype(dtype)

    def binomial(self, n: np.ndarray, p: float) -> np.ndarray:
        """How many of n trials succeed, each with probability `p`."""
        tried = np.arange(int(n.max(initial=0)))
        return ((self.random((len(n), len(tried))) < p) & (tried < n[:, None])).sum(axis=1)

    def choice(self, n: int, *, size: tuple[int, ...], p: np.ndarray) -> np.ndarray:
        """0..n-1 with probabilities `p`."""
        return np.minimum(np.searchsorted(np.cumsum(p), self.random(size), side="right"), n - 1)


Draws = np.random.Generator | RowRandom
"""What chance comes from: one generator for the batch, or one for each row wherever it stands (static masks)."""
