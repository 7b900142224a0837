"""Link prediction: where the right entity stands among all when a fact's head or tail is asked for.

Source: Bordes et al., NIPS 2013, §4.2: both ends are asked for; "filtered" ranks leave out other entities that make a
known fact. Equal distances count half, so that a model that says the same of everything gets what chance gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Known = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""From triples and the end that is asked for (0: head, 1: tail) to every entity that makes them true: the number of the
triple and the entity."""


@torch.no_grad()
def link_ranks(
    entities: Float[Tensor, "n d"],
    relations: Float[Tensor, "r d"],
    triples: Int[np.ndarray, "m 3"],
    known: Known,
    *,
    norm: int,
    chunk: int = 256,
) -> Float[np.ndarray, "2 m"]:
    """The filtered rank (from 1) of each triple's head and of its tail by |head + relation - tail|."""
    found: list[np.ndarray] = []
    for side in (0, 1):
        ranks = []
        for first in range(0, len(triples), chunk):
            part = np.asarray(triples[first : first + chunk], np.int64)
            head, relation, tail = (torch.from_numpy(part[:, i].copy()) for i in range(3))
            near = entities[head] + relations[relation] if side else entities[tail] - relations[relation]
            distance = torch.cdist(near.float(), entities.float(), p=float(norm))
            right = distance.gather(1, (tail if side else head)[:, None])
            row, other = (torch.from_numpy(x) for x in known(part, side))
            distance[row, other] = float("inf")
            ranks.append(((distance < right).sum(1) + (distance == right).sum(1) / 2).numpy() + 1)
        found.append(np.concatenate(ranks))
    return np.stack(found)


def link_prediction(ranks: Float[np.ndarray, "2 m"], *, at: Sequence[int] = (1, 3, 10)) -> dict[str, float]:
    """Mean rank, mean reciprocal rank and the share of ranks up to each of `at`, over both ends."""
    figures = {"mean_rank": float(ranks.mean()), "mrr": float((1 / ranks).mean())}
    return figures | {f"hits@{k}": float((ranks <= k).mean()) for k in at}
