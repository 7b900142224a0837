"""Passages found by the inner product of vectors, and laid beside what asked for them.

The vectors of all passages are made when they are first asked for and are no part of a checkpoint: the weights that
made them are. Exact search, in memory. Source: maximum inner product search, REALM, arXiv:2002.08909 §3.3. Not here:
approximate search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.backbones.dual import encode
from modeledge.core import Batch, Facts, RecipeError
from modeledge.losses.products import products
from modeledge.objectives import own_document
from modeledge.visibility import see
from modeledge.visibility.full import full

ROWS = 128
"""Passages in one forward pass."""


class Index:
    """The passages of a source (`texts(numbers)`, `passages`) with a vector each.

    `side`: what makes a passage's vector (Dual.side); in evaluation mode while it does."""

    def __init__(self, source: Any, side: Sequence[nn.Module]):
        self.source, self.side = source, side
        self.vectors: Tensor | None = None

    def __len__(self) -> int:
        return self.source.passages

    def forget(self) -> None:
        """The weights have changed: make the vectors anew when they are asked for."""
        self.vectors = None

    @torch.no_grad()
    def fill(self, device: torch.device) -> Float[Tensor, "n d"]:
        """The vectors of all passages, in fp32; passages of like length share a pass."""
        if self.vectors is None:
            training = [module for module in self.side if module.training]
            for module in training:
                module.eval()
            order = np.argsort(self.source.whole(np.arange(len(self))).size, kind="stable")
            parts = np.array_split(order, -(-len(order) // ROWS))
            with torch.autocast(device.type, enabled=False):
                found = [encode_texts(self.side, self.texts(part, device)) for part in parts]
            vectors = torch.cat(found)
            self.vectors = torch.empty_like(vectors)
            self.vectors[torch.from_numpy(order).to(device)] = vectors
            for module in training:
                module.train()
        return self.vectors

    @torch.no_grad()
    def top(
        self, queries: Float[Tensor, "b d"], count: int, *, without: Int[Tensor, " b"] | None = None
    ) -> Int[Tensor, "b k"]:
        """The `count` passages with the largest products, best first; `without`: one that each query may not find."""
        if count == 0:
            return torch.zeros(len(queries), 0, dtype=torch.long, device=queries.device)
        scores = products(queries, self.fill(queries.device))
        if without is not None:  # a held-out row's own passage is in no index
            own = torch.arange(len(self), device=queries.device) == without[:, None]
            scores = scores.masked_fill(own, float("-inf"))
        return scores.topk(count).indices

    def texts(self, numbers: np.ndarray, device: torch.device) -> Batch:
        """Passages as `ids` and `valid` on the device, without columns of padding."""
        rows = self.source.texts(numbers).trim()
        return rows.but(valid=rows.get("valid", np.ones(rows.ids.shape, bool))).tensors(device)


def index_of(sources: dict[str, Any], name: str | None, side: Sequence[nn.Module], *, count: int, where: str) -> Index:
    """An index of the source `name` (default: the first). Raises RecipeError if it has no passages, or fewer than are
    to be found for a row besides its own."""
    name = name or next(iter(sources))
    source = sources.get(name)
    if not hasattr(source, "passages"):
        known = ", ".join(n for n, s in sources.items() if hasattr(s, "passages")) or "none"
        raise RecipeError(f"{where}.passages: data.{name} has no passages to find; sources that do: {known}")
    if source.passages <= count:
        raise RecipeError(
            f"{where}.candidates: {count} passages are to be found, and data.{name} has {source.passages}\n"
            "  next: fewer candidates, more data, or a shorter length"
        )
    return Index(source, side)


def frame_of(facts: Facts, where: str) -> list[int]:
    """The row of an empty text, [cls] [sep]. Raises RecipeError for a tokenizer that begins rows otherwise."""
    special = facts.special
    if "cls" not in special or "sep" not in special:
        raise RecipeError(
            f"{where}: rows of two texts begin with [cls] and have [sep] between them; this tokenizer has "
            f"{', '.join(special)}\n  next: --set tokenizer.kind=wordpiece"
        )
    return [special["cls"], special["sep"]]


def encode_texts(side: Sequence[nn.Module], rows: Batch) -> Float[Tensor, "n d"]:
    """The vectors of rows of one text each."""
    seen = see(own_document(rows, full), *rows.ids.shape, device=rows.ids.device)
    return encode(side, rows, seen).pooled.float()  # type: ignore[union-attr]


def beside(first: Batch, second: Batch, shown: Tensor | None = None) -> Batch:
    """Two texts as one row each: [cls] first [sep] second [sep], in segments 0 and 1. Rows may have padding between
    them, which no position counts.

    shown: rows that have a second text (default: all)."""
    valid = second.valid[:, 1:]
    if shown is not None:
        valid = valid & shown[:, None]
    ids, valid = torch.cat([first.ids, second.ids[:, 1:]], 1), torch.cat([first.valid, valid], 1)
    segments = torch.zeros_like(ids)
    segments[:, first.ids.shape[1] :] = 1
    positions = (valid.long().cumsum(1) - 1).clamp(min=0)
    return Batch(ids=ids, valid=valid, positions=positions, segments=segments)


def repeated(rows: Batch, times: int) -> Batch:
    """The ids of each row, so many times one after the other, and what of them is not padding."""
    valid = rows.valid if "valid" in rows else torch.ones_like(rows.ids, dtype=torch.bool)
    return Batch({k: x.repeat_interleave(times, 0) for k, x in (("ids", rows.ids), ("valid", valid))})
