"""Name an entity that was taken out of its record: candidates are compared by how likely their tokens are in its place.

Source: OAG-BERT, arXiv:2103.02410 §3.4: as many masks as a name has tokens, of the entity's type, and the mean of the
log-probabilities. Not here: writing a name token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from modeledge.core import IGNORE, Batch, Facts

Entity = tuple[int, Int[np.ndarray, " n"]]
"""A type (from 1) and the ids of the name."""


def ask(entities: Sequence[Entity], place: int, candidates: Sequence[Int[np.ndarray, " n"]], facts: Facts) -> Batch:
    """A row a candidate: the record with masks for the candidate in place of the entity at `place`; `labels` are the
    candidate's ids."""
    kind, mask = entities[place][0], facts.special["mask"]
    rows = []
    for name in candidates:
        whole = [*entities[:place], (kind, np.full(len(name), mask)), *entities[place + 1 :]]
        sizes = [len(ids) for _, ids in whole]
        labels = [name if i == place else np.full(n, IGNORE) for i, n in enumerate(sizes)]
        rows.append(
            {
                "ids": np.concatenate([ids for _, ids in whole]),
                "types": np.repeat([t for t, _ in whole], sizes),
                "order": np.repeat(np.arange(1, len(whole) + 1), sizes),
                "positions": np.concatenate([np.arange(n) for n in sizes]),
                "labels": np.concatenate(labels),
            }
        )
    longest = max(len(row["ids"]) for row in rows)
    fills = {"ids": facts.pad, "types": 0, "order": 0, "positions": 0, "labels": IGNORE}
    edges = {"ids": (facts.special["cls"], facts.special["sep"]), "labels": (IGNORE, IGNORE)}
    out = {name: np.full((len(rows), longest + 2), fill) for name, fill in fills.items()}
    valid = np.zeros((len(rows), longest + 2), bool)
    for i, row in enumerate(rows):
        n = len(row["ids"])
        valid[i, : n + 2] = True
        for name, values in row.items():
            first, last = edges.get(name, (0, 0))
            out[name][i, : n + 2] = [first, *values, last]
    return Batch(out | {"valid": valid})


@torch.no_grad()
def score_names(score: Callable[[Batch], Tensor], asked: Batch) -> Float[np.ndarray, " n"]:
    """The mean log-probability of each row's labels. `score` gives m v for the rows' m labels, row after row."""
    row, column = np.nonzero(asked.labels != IGNORE)
    log_p = score(asked).float().log_softmax(-1).cpu()
    said = log_p[torch.arange(len(row)), torch.from_numpy(asked.labels[row, column])].numpy()
    return np.bincount(row, said) / np.bincount(row)


def naming(right: Sequence[int], candidates: int) -> dict[str, float]:
    """Accuracy and mean reciprocal rank of the right name (ranks from 1), and what guessing would get."""
    ranks = np.asarray(right, float)
    chance = {"chance": 1 / candidates, "n": float(len(ranks))}
    return {"accuracy": float((ranks == 1).mean()), "mrr": float((1 / ranks).mean())} | chance
