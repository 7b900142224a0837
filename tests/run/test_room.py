"""How many rows fit: the costs are those of the shapes, and a cap on memory is kept."""

import json

import pytest
import torch

from modeledge.data.store import Store
from modeledge.engine.memory import Live
from modeledge.recipe.resolve import resolve
from modeledge.run import room
from modeledge.run.room import measure_room


def test_live_counts_each_storage_once_and_forgets_what_is_gone():
    with Live() as live:
        x = torch.zeros(1000)
        y = x.view(10, 100) + 1
        assert live.now == live.most == 8000
        del y
        assert live.now == 4000
        x.add_(1)
        z = x[:10]
        assert (live.now, live.most, z.numel()) == (4000, 8000, 10)


@pytest.mark.contract
def test_states_are_sixteen_bytes_a_weight_and_recomputing_makes_rows_cheaper(text_store, toy):
    sets = [*toy, "backbone.layers=4", "backbone.positions.max=64", "data.text.length=64", "backbone.pool=null"]
    found = measure_room("bert", data=[str(text_store)], sets=sets, quiet=True)
    assert found.fixed == pytest.approx(16 * found.parameters, rel=0.01)
    none, selective, full = found.ways
    assert [way.recompute for way in found.ways] == ["none", "selective", "full"]
    assert none.row > 1.2 * selective.row > 1.2 * full.row
    assert none.most < selective.most < full.most


@pytest.mark.contract
def test_the_cost_of_a_row_foretells_a_larger_pass(text_store, toy):
    tree = resolve("bert", sets=toy)
    passes = room.Passes(tree, {"text": Store.open(text_store)}, "none", torch.device("cpu"), most=1e12)
    row, base = passes.measure()
    assert passes.peak(150) == pytest.approx(base + 150 * row, rel=0.1)


@pytest.mark.contract
def test_models_with_memory_are_measured_with_as_many_streams_as_rows(text_store):
    sets = ["backbone={width: 16, layers: 1, heads: 2, ffn: {width: 32}}", "tokenizer=wordpiece"]
    found = measure_room("transformer_xl", data=[str(text_store)], size="tiny", sets=sets, quiet=True)
    assert found.ways[0].most > 10


def test_no_pass_is_tried_that_would_not_fit(text_store, toy):
    passes = room.Passes(
        resolve("bert", sets=toy), {"text": Store.open(text_store)}, "none", torch.device("cpu"), most=1
    )
    tried, plain = [], passes.peak
    passes.peak = lambda rows: tried.append(rows) or plain(rows)
    row, base = passes.measure()
    assert tried == [2] and row > 1 and base > 0


@pytest.mark.contract
def test_what_does_not_fit_is_said(text_store, toy, monkeypatch):
    monkeypatch.setattr(room, "free_bytes", lambda device: 40_000_000)
    assert 0 < measure_room("bert", data=[str(text_store)], sets=toy, quiet=True).ways[0].most < 5000
    monkeypatch.setattr(room, "free_bytes", lambda device: 100_000)
    assert "not even one row fits" in str(measure_room("bert", data=[str(text_store)], sets=toy, quiet=True))


@pytest.mark.contract
def test_doctor_answers_for_a_recipe_and_refuses_one_without_data(command, text_store, toy):
    sets = [word for key in toy for word in ("--set", key)]
    code, out, _ = command("doctor", "bert", "--data", text_store, *sets, "--json")
    assert code == 0 and json.loads(out)["ways"][0]["most"] > 0
    code, _, said = command("doctor", "bert")
    assert code == 2 and "--data" in said
