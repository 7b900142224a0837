"""Name an entity that was taken out of its record: candidates are compared by how likely their tokens are in its place,
or a name is written there.

Source: OAG-BERT, arXiv:2103.02410 §3.4: as many masks as a name has tokens, of the entity's type, and the mean of the
log-probabilities; the search for a name is that of the release (cogdl's `decode_beamsearch`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from modeledge.core import IGNORE, Batch, Facts

Entity = tuple[int, Int[np.ndarray, " n"]]
"""A type (from 1) and the ids of the name."""


def ask(
    entities: Sequence[Entity],
    place: int,
    candidates: Sequence[Int[np.ndarray, " n"]],
    facts: Facts,
    *,
    known: Sequence[Int[np.ndarray, " n"]] | None = None,
) -> Batch:
    """A row a candidate: the record with masks for the candidate in place of the entity at `place`; `labels` are the
    candidate's ids. `known`: what stands there already, with masks for the rest, whose labels alone count."""
    kind, mask = entities[place][0], facts.special["mask"]
    rows = []
    for name, shown in zip(candidates, known or [np.full(len(c), mask) for c in candidates], strict=True):
        whole = [*entities[:place], (kind, shown), *entities[place + 1 :]]
        sizes = [len(ids) for _, ids in whole]
        wanted = np.where(shown == mask, name, IGNORE)
        labels = [wanted if i == place else np.full(n, IGNORE) for i, n in enumerate(sizes)]
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


@torch.no_grad()
def write_names(
    score: Callable[[Batch], Tensor],
    entities: Sequence[Entity],
    place: int,
    facts: Facts,
    *,
    size: int,
    beams: int = 1,
    forward: bool = False,
) -> list[tuple[tuple[int, ...], float]]:
    """The likeliest names of `size` tokens for the entity at `place`, at most `beams`, best first, with log p.

    Each step fills one mask of each beginning: whichever place and token is likeliest there (`forward`: the first
    place). Names that were filled in several orders count once, with the best of them. `score`: as in `score_names`."""
    mask, special = facts.special["mask"], torch.from_numpy(facts.is_special())
    live: dict[tuple[int, ...], float] = {(mask,) * size: 0.0}
    for left in range(size, 0, -1):
        shown = [np.array(ids) for ids in live]
        found = score(ask(entities, place, [np.zeros_like(ids) for ids in shown], facts, known=shown)).float().cpu()
        log_p = found.log_softmax(-1).masked_fill(special, -torch.inf).view(len(live), left, -1)
        log_p = log_p[:, :1] if forward else log_p
        best = log_p.flatten(1).topk(min(beams, log_p[0].numel()))
        more: dict[tuple[int, ...], float] = {}
        for row, (ids, before) in enumerate(live.items()):
            free = [n for n, token in enumerate(ids) if token == mask]
            for value, number in zip(best.values[row].tolist(), best.indices[row].tolist(), strict=True):
                at, token = divmod(number, log_p.shape[-1])
                name = (*ids[: free[at]], token, *ids[free[at] + 1 :])
                if value > -np.inf:  # more beams than there are words
                    more[name] = max(more.get(name, -np.inf), before + value)
        live = dict(sorted(more.items(), key=lambda pair: -pair[1])[:beams])
    return list(live.items())


def naming(right: Sequence[int], candidates: int) -> dict[str, float]:
    """Accuracy and mean reciprocal rank of the right name (ranks from 1), and what guessing would get."""
    ranks = np.asarray(right, float)
    chance = {"chance": 1 / candidates, "n": float(len(ranks))}
    return {"accuracy": float((ranks == 1).mean()), "mrr": float((1 / ranks).mean())} | chance
