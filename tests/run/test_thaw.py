"""Layers that join the training one group after the other, and learning rates by depth, in the loop."""

from __future__ import annotations

import re

import pytest
import torch

from modeledge.core import RecipeError
from modeledge.recipe.schema import Unfreeze
from modeledge.run import loop
from modeledge.run.thaw import live_groups

pytestmark = pytest.mark.contract  # whole stories of verbs

TWO = ["backbone.layers=2", "backbone.dropout=0.1", "backbone.pool=null"]


@pytest.fixture
def watched(monkeypatch):
    """What each step did: names with a gradient and their learning rates; what moved; whose moments exist."""
    seen = []
    plain, note = loop.Trainer.backward, loop.Trainer.note

    def backward(self, step):
        totals = plain(self, step)
        named = dict(self.model.named_parameters())
        rates = {id(p): g["lr"] for g in self.optimizer.param_groups for p in g["params"]}
        seen.append(
            {
                "graded": {n for n, p in named.items() if p.grad is not None},
                "rates": {n: rates[id(p)] for n, p in named.items()},
                "before": {n: p.detach().clone() for n, p in named.items()},
            }
        )
        return totals

    def after(self, *args):
        named = dict(self.model.named_parameters())
        before = seen[-1].pop("before")
        seen[-1]["moved"] = {n for n, p in named.items() if not torch.equal(p, before[n])}
        seen[-1]["moments"] = {n for n, p in named.items() if self.optimizer.state.get(p)}
        note(self, *args)

    monkeypatch.setattr(loop.Trainer, "backward", backward)
    monkeypatch.setattr(loop.Trainer, "note", after)
    return seen


def layer(name):
    """0 for the embedding, then the blocks, 3 for the head."""
    if found := re.search(r"blocks\.(\d)", name):
        return int(found[1]) + 1
    return 3 if name.startswith("objectives") else 0


def test_each_group_joins_in_its_turn_and_those_below_it_rest(train, watched):
    """Also weight decay leaves them alone, and their moments begin when they join."""
    train(steps=12, sets=[*TWO, "unfreeze.joins=3", "optim.weight_decay=0.1", "schedule={kind: constant}"])
    assert len(watched) == 12
    for step, did in enumerate(watched):
        names = {n for n in did["rates"] if layer(n) >= 3 - step // 3}
        assert did["graded"] == did["moved"] == did["moments"] == names
    assert {layer(n) for n in watched[-1]["moved"]} == {0, 1, 2, 3}


def test_every_layer_learns_at_a_share_of_the_rate_of_the_layer_above_it(train, watched):
    sets = [*TWO, "optim.lr=1e-2", "optim.layer_decay=0.385", "schedule={kind: slanted, warmup: 0.25}"]
    train(steps=16, sets=sets)
    for step in (0, 2, 4, 9, 15):
        share = step / 4 if step < 4 else 1 - (step - 4) / 12
        peak = 1e-2 * (1 + share * 31) / 32
        for name, rate in watched[step]["rates"].items():
            assert rate == pytest.approx(peak * 0.385 ** (3 - layer(name)))


@pytest.mark.parametrize(
    ("joins", "total", "expected"),
    [
        (2, 8, [1, 1, 2, 2, 3, 3, 4, 4]),
        (0.25, 8, [1, 1, 2, 2, 3, 3, 4, 4]),
        (0.5, 8, [1, 1, 1, 1, 2, 2, 2, 2]),
        ((1, 1, 4), 6, [1, 3, 3, 3, 4, 4]),  # SiATL: both recurrent layers together, the words later
        ((0.5,), 6, [1, 1, 1, 4, 4, 4]),
        ((0, 3), 6, [2, 2, 2, 4, 4, 4]),
        (100, 3, [1, 1, 1]),
    ],
)
def test_groups_join_by_steps_or_by_shares_of_the_run(joins, total, expected):
    unfreeze = Unfreeze(joins=joins)
    assert [live_groups(unfreeze, step, total, groups=4) for step in range(total)] == expected


def test_wrong_times_are_refused(train):
    with pytest.raises(RecipeError, match="unfreeze.joins"):
        train(sets=["unfreeze.joins=0"])
