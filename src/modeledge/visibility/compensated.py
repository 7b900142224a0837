"""MPNet: tokens predicted in some order, and masks that stand in for those not yet predicted.

A row holds the tokens, then a mask at each predicted place, then a query at each of them. Whatever its turn, a token
sees every place of the sentence exactly once: as the token itself if that has had its turn, as its mask otherwise.
Source: arXiv:2004.09297 §2.2-2.3 and the masks of its released code."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from modeledge.visibility import Rule

TOKEN, MASK, QUERY = 0, 1, 2
"""What stands at a place of the row."""
Mode = Literal["mpnet", "mlm", "plm"]


def compensated(rank: Int[Tensor, "b t"], stream: Int[Tensor, "b t"], *, mode: Mode = "mpnet") -> Rule:
    """rank: the turn of what is predicted, 0, 1, ..., -1 for the context; stream: TOKEN, MASK or QUERY; mode: mpnet, or
    one of the two that it unites: all masks and no predicted token (mlm), or no masks at all (plm).

    A predicted token sees itself and the tokens before it, a query only the tokens before it, context and masks no
    predicted token; nobody sees a query."""
    none = torch.zeros_like(rank)
    limit = torch.where(stream == TOKEN, rank + 1, torch.where(stream == QUERY, rank, none))  # turns that are over
    limit = none if mode == "mlm" else limit
    stands_in = torch.zeros_like(stream, dtype=torch.bool) if mode == "plm" else stream == MASK

    def seen(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        over = rank[b, k] < limit[b, q]
        context = (rank[b, k] < 0) & (stream[b, k] == TOKEN)
        return context | ((stream[b, k] == TOKEN) & over) | (stands_in[b, k] & ~over)

    return seen
