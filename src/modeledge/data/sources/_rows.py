"""Rows of different lengths in memory, padded a batch at a time; samples of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Config, keyed


class Limit(Config):
    """rows: at most so many; seed: which."""

    rows: int = Field(ge=1)
    seed: int = 0

    def of(self, count: int) -> Int[np.ndarray, " n"]:
        """The chosen ones among `count`, in their order."""
        return np.sort(keyed(self.seed, "limit").permutation(count)[: self.rows])


class Rows:
    """Named fields with one entry a token, all of the same row lengths; `fills` is what stands beyond the end of a
    row."""

    def __init__(self, rows: Sequence[dict[str, np.ndarray]], fills: dict[str, int]):
        sizes = np.fromiter((len(r["ids"]) for r in rows), np.int64, len(rows))
        self.begins, self.sizes, self.fills = np.cumsum(sizes) - sizes, sizes, fills
        self.fields = {name: np.concatenate([r[name] for r in rows]) for name in rows[0]} if rows else {}

    def __len__(self) -> int:
        return len(self.sizes)

    def pad(self, index: Int[np.ndarray, " b"], length: int) -> Batch:
        """The rows `index` as fields b t, and `valid` unless all are full."""
        place = np.arange(length)
        valid = place < self.sizes[index][:, None]
        address = np.where(valid, self.begins[index][:, None] + place, 0)
        batch = Batch()
        for name, flat in self.fields.items():
            padded = flat[address]
            padded[~valid] = self.fills.get(name, 0)
            batch[name] = padded
        return batch if valid.all() else batch.but(valid=valid)
