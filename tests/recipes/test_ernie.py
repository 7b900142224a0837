"""Baidu's ERNIE and ERNIE 2.0: who has its turn, what the model is told of it, what comes after."""

from __future__ import annotations

import pytest
import torch

from modeledge.core import RecipeError
from modeledge.engine.processes import ALONE
from modeledge.interop import check, import_folder
from modeledge.recipe.resolve import Tree, resolve
from modeledge.recipe.schema import check as check_recipe
from modeledge.run.job import run_job
from modeledge.run.model import make_model
from modeledge.run.port import export_model
from modeledge.run.stage import Job, Stage

SEVEN = ["mlm", "capitals", "recurs", "pieces", "distance", "discourse", "relevance"]


@pytest.fixture
def ernie2(toy, stores):
    tree, recipe = toy("ernie2", "loop.steps=84")
    stage = Stage(Job(tree, stores(recipe), None), recipe, 0, device=torch.device("cpu"), ranks=ALONE)
    model = make_model(recipe, stage.facts, seed=0)
    return stage.feeds(model, {"micro": 8, "steps": 84}), model


def test_seven_tasks_join_one_after_the_other_each_with_its_number_and_the_same_steps(ernie2):
    (feed, held), _ = ernie2
    names = [feed.active(i)[0] for i in range(84)]
    assert {name: names.count(name) for name in SEVEN} == dict.fromkeys(SEVEN, 12)
    assert [names.index(a) < names.index(b) for a, b in zip(SEVEN, SEVEN[1:], strict=False)] == [True] * 6
    assert list(dict.fromkeys(names)) == SEVEN
    for step in (0, 30, 83):
        (work,) = feed.step(step).works
        assert work.names == (names[step],)
        assert all((micro.task == SEVEN.index(names[step])).all() for micro in work.micros)
    told = {name: int(work.micros[0].task[0]) for work in held.step(0).works for name in work.names}
    assert {told[name] for name in SEVEN[3:]} == {3, 4, 5, 6} and told["mlm"] == 0


def test_more_tasks_than_rows_of_the_table_are_refused():
    tree = resolve("ernie2", sets=["backbone.embedding.types.task=6"])
    with pytest.raises(RecipeError, match="task has 6 rows and there are 7 tasks"):
        check_recipe(tree)


def test_another_task_is_a_recipe_that_extends_the_finished_run(toy, stores, ernie2):
    """Everything learnt is carried over, and the new task has the next number."""
    tree, _ = toy("ernie2")
    more = {"kind": "nsp", "name": "pair", "on": "pairs"}
    keys = {**tree.keys, "objectives": [*tree.keys["objectives"], more]}
    keys["data"] = {**keys["data"], "pairs": {"kind": "segment_pair", "length": 32}}
    eight = Tree("eight", keys)
    weights = {n: t.clone() for n, t in ernie2[1].state_dict().items()}
    job = Job(eight, stores(check_recipe(eight)), None)
    stage = Stage(job, check_recipe(eight), 0, device=torch.device("cpu"), ranks=ALONE)
    model = make_model(stage.recipe, stage.facts, seed=1)
    stage.take_over(model, weights)
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in weights.items())
    assert stage.feeds(model, {"micro": 8, "steps": 80})[0].task_of("pair") == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ernie", "ernie2"])
def test_the_encoder_of_a_run_opens_in_transformers(toy, stores, tmp_path, name):
    tree, recipe = toy(name)
    run_job(Job(tree, stores(recipe), tmp_path / "run"))
    ported = export_model(tmp_path / "run", tmp_path / "out", model_type="ernie")
    assert ported.type == "ernie"
    assert check(tmp_path / "out").difference <= 1e-5
    types = import_folder(tmp_path / "out").backbone["embedding"]["types"]
    assert types == {"ernie": {"segments": 4}, "ernie2": {"segments": 4, "task": 16}}[name]


def test_ernie_reads_sentences_and_dialogues_in_turn_and_shares_the_vocabulary(toy, stores):
    tree, recipe = toy("ernie")
    stage = Stage(Job(tree, stores(recipe), None), recipe, 0, device=torch.device("cpu"), ranks=ALONE)
    model = make_model(recipe, stage.facts, seed=0)
    feed, _ = stage.feeds(model, {"micro": 8, "steps": 100})
    works = [feed.step(i).works for i in range(12)]
    assert {work.names for (work,) in works} == {("mlm", "nsp"), ("dlm", "real")}
    for (work,) in works:
        ids = {2, 3} if "real" in work.names else {0, 1}
        assert set(work.micros[0].segments[work.micros[0].ids != stage.facts.pad].tolist()) == ids
    assert model.objectives["dlm"].head is model.objectives["mlm"].head
