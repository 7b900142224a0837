"""What every recipe must hold when a run is cut off: it goes on as if nothing had happened, to the last bit."""

import json

import pytest
import torch

from modeledge.recipe.schema import check
from modeledge.run.checkpoint import own_tensors
from modeledge.run.job import run_job, stage_trees
from modeledge.run.keep import load_model
from modeledge.run.loop import Trainer
from modeledge.run.stage import Job

pytestmark = pytest.mark.contract  # whole stories of verbs

STEPS = 4
SETS = ("loop.steps=4", "loop.save.every=2", "loop.save.keep=9", "loop.evaluate.every=2", "loop.evaluate.batches=1")
CLOCK = ("seconds", "tokens_per_second", "share", "memory")


class Killed(Exception):
    """Stands for a process that is no more."""


def records(folder):
    """metrics.jsonl without what a clock says."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in lines]


def test_a_run_killed_again_and_again_ends_as_one_that_was_not(toy, stores, tmp_path, monkeypatch, name):
    """Killed between two checkpoints of each stage, and right after the last step of a stage that another follows."""
    monkeypatch.setattr("modeledge.run.stage.product_rate", lambda *_, **__: 0.0)  # how fast the machine is: no matter
    tree, recipe = toy(name, *SETS)
    data, stages, took = stores(recipe), len(stage_trees(tree)), Trainer.take
    whole = run_job(Job(tree, data, tmp_path / "whole"))
    deaths = [3] + [2] * (2 * stages - 2)  # steps that each try still does: 3, from 2 to 4, from 4 to 6, ...
    left = 0

    def take(self, step):
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return took(self, step)

    monkeypatch.setattr(Trainer, "take", take)
    for attempt, steps in enumerate([*deaths, 10**6]):
        left = steps
        try:
            done = run_job(Job(tree, data, tmp_path / "cut", resume=attempt > 0))
        except Killed:
            continue
    assert 10**6 - left == 2  # the last try went on, it did not begin anew
    assert done.result.position.overall == STEPS * stages
    assert records(tmp_path / "cut") == records(tmp_path / "whole")
    loaded = load_model(tmp_path / "cut")  # G9, in our own format
    one = own_tensors(whole.model)
    for model in (done.model, loaded.model):
        two = own_tensors(model)
        assert one.keys() == two.keys() and all(torch.equal(t, two[n]) for n, t in one.items())
    last = check(stage_trees(tree)[-1])
    assert loaded.recipe == last.model_copy(update={"sizes": {}})  # sizes are for the maker, not for the made
