"""Recipes that look things up, from stores to run folders."""

from __future__ import annotations

import shutil

import torch
from safetensors.torch import load_file

from modeledge.run.checkpoint import own_tensors, path_of
from modeledge.run.job import Job, run_job


def test_realm_goes_on_exactly_between_two_refreshes_of_its_index(toy, stores, tmp_path):
    """The index is of the passage tower at step 2, the checkpoint of step 3: only the companion knows the former."""
    objective = "objectives=[{kind: realm, candidates: 4, refresh: 2}]"
    tree, recipe = toy("realm", "stages=[]", objective, "loop.save.every=1", "loop.save.keep=9", "optim.lr=0.03")
    whole = run_job(Job(tree, stores(recipe), tmp_path / "whole"))
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for step in (4, 5, 6):
        shutil.rmtree(path_of(tmp_path / "again" / "checkpoints", step))
    again = run_job(Job(tree, stores(recipe), tmp_path / "again", resume=True))
    assert again.result.position.step == 6 and again.result.losses == whole.result.losses
    ends = [own_tensors(done.model) for done in (whole, again)]
    assert all(torch.equal(t, ends[1][n]) for n, t in ends[0].items())
    saved = load_file(path_of(tmp_path / "whole" / "checkpoints", 3) / "model.safetensors")
    name = "projections.passage.weight"
    assert not torch.equal(saved[f"backbone.{name}"], saved["objectives.realm.twin.copies.1.weight"])
