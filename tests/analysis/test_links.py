"""Filtered ranks against a plain loop over all entities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.analysis.links import link_prediction, link_ranks


@pytest.mark.parametrize("norm", [1, 2])
def test_ranks_are_those_of_a_loop_and_leave_out_other_true_triples(norm):
    rng = np.random.default_rng(0)
    entities, relations = rng.standard_normal((11, 4)), rng.standard_normal((2, 4))
    entities[7] = entities[3]  # equal distances count half
    true = {tuple(t) for t in rng.integers(0, [11, 2, 11], (60, 3)).tolist()}
    triples = np.array(sorted(true))[::3]

    def known(part, side):
        pairs = [(i, e) for i, (h, r, t) in enumerate(part.tolist()) for e in range(11)
                 if ((h, r, e) if side else (e, r, t)) in true]  # fmt: skip
        return tuple(np.array(pairs).T)

    tables = torch.tensor(entities).float(), torch.tensor(relations).float()
    found = link_ranks(*tables, triples, known, norm=norm, chunk=7)
    for i, (h, r, t) in enumerate(triples.tolist()):
        for side, right in ((0, h), (1, t)):
            rank = 1.0
            away = lambda e, side=side, h=h, r=r, t=t: np.linalg.norm(  # noqa: E731
                (entities[h] if side else entities[e]) + relations[r] - (entities[e] if side else entities[t]), norm
            )
            for e in range(11):
                if ((h, r, e) if side else (e, r, t)) not in true:
                    gap = away(e) - away(right)
                    rank += 0.5 if abs(gap) < 1e-6 else float(gap < 0)
            assert found[side, i] == rank


def test_figures_of_known_ranks():
    found = link_prediction(np.array([[1.0, 2.0], [4.0, 20.0]]))
    assert found["mrr"] == pytest.approx((1 + 0.5 + 0.25 + 0.05) / 4) and found["mean_rank"] == 6.75
    assert [found[f"hits@{k}"] for k in (1, 3, 10)] == [0.25, 0.5, 0.75]
