"""What the multilingual recipes promise: sizes of the papers, what reads what, languages drawn with temperature."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import Facts, RecipeError, find, keyed
from modeledge.data.facts import facts_of
from modeledge.data.store import Store, StoreWriter
from modeledge.engine.processes import ALONE
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run.checkpoint import own_tensors
from modeledge.run.explain import explain
from modeledge.run.job import run_job, stage_trees
from modeledge.run.model import make_model
from modeledge.run.stage import Job, Stage
from modeledge.tokenizers import load_tokenizer


@pytest.mark.parametrize(("name", "millions"), [("mbert", 177.9), ("xlm", 249.0), ("xlm_r", 277.5), ("mbart", 610.9)])
def test_the_published_sizes(name, millions):
    assert explain(resolve(name)).parameters["backbone parameters"] / 1e6 == pytest.approx(millions, abs=0.06)


def test_xlm_r_large_with_its_head_has_560_million():
    told = explain(resolve("xlm_r", size="large")).parameters
    assert told["all parameters"] / 1e6 == pytest.approx(560.1, abs=0.1)


def test_only_the_systems_that_say_so_know_languages():
    known = dict.fromkeys(["xlm", "xlm_tlm", "unicoder", "alm"], 15) | dict.fromkeys(["mbert", "xlm_r", "mbart"])
    for name, languages in known.items():
        recipe = check(resolve(name))
        assert recipe.backbone.embedding.types.get("lang") == languages


@pytest.mark.parametrize("name", ["xlm_tlm", "alm", "unicoder"])
def test_a_language_that_the_model_has_no_row_for_is_refused(name):
    tree = resolve(name)
    source = next(n for n, c in tree.keys["data"].items() if c["kind"] in ("translations", "code_switched"))
    with pytest.raises(RecipeError, match=rf"data\.{source}\.langs names language 15 .* has 15 rows"):
        check(resolve(name, sets=[f"data.{source}.langs=[0, 15]"]))


def test_a_row_of_mbart_has_one_language_whose_token_is_the_last(toy, stores):
    _, recipe = toy("mbart")
    store = stores(recipe)["text"]
    facts = facts_of(store, load_tokenizer(store.path))
    source = find("data.sources", recipe.data["text"].kind)(recipe.data["text"], store, facts)
    backbone = find("backbones", recipe.backbone.kind)(recipe.backbone, facts)
    objective = find("objectives", "reconstruct")(recipe.objectives[0], facts, backbone)
    rows = source.rows(np.arange(0, len(source), 3), keyed(0))
    assert len(set(rows.lang[:, 0])) == 2 and (rows.lang == rows.lang[:, :1]).all()
    view = objective.view(rows, keyed(1))
    last = np.take_along_axis(view.ids, view.valid.sum(1)[:, None] - 1, 1)[:, 0]
    assert last.tolist() == [facts.special[f"lang{i}"] for i in rows.lang[:, 0]] == view.decoder_ids[:, 0].tolist()


@pytest.mark.parametrize(("name", "alpha"), [("mbert", 0.7), ("xlm", 0.5), ("xlm_r", 0.3), ("mbart", 0.7)])
def test_tokens_have_the_languages_by_their_shares_to_a_power_and_rows_have_one(toy, tmp_path, name, alpha):
    recipe = toy(name)[1]
    lang, tokens = np.repeat([0, 1], [900, 100]), 20 + np.arange(1000 * 30)
    with StoreWriter(tmp_path / "store") as writer:
        writer.ragged("tokens", np.uint32, tokens, np.full(1000, 30))
        writer.column("sentences", np.int64).append(np.arange(0, 30000, 6))
        writer.column("lang", np.uint16).append(lang)
        writer.finish(rows=1000, meta={})
    special = {name: at for at, name in enumerate(("pad", "cls", "sep", "mask", "bos", "eos", "lang0", "lang1"))}
    facts = Facts(vocab=30020, special=special, words=(20, 30020))
    config = recipe.data["text"].model_copy(update={"length": 64})
    source = find("data.sources", config.kind)(config, Store.open(tmp_path / "store"), facts)
    rows = source.rows(np.arange(len(source)), keyed(0)).ids
    of = np.concatenate([np.full(20, -1), lang.repeat(30)])[rows]
    assert all(len(set(row[row >= 0])) == 1 for row in of)
    got, wanted = np.bincount(of[of >= 0]) / (of >= 0).sum(), np.array([0.9, 0.1]) ** alpha
    assert np.abs(got - wanted / wanted.sum()).max() < 0.03


@pytest.mark.contract
def test_xnlg_first_trains_its_encoder_and_then_leaves_every_byte_of_it(toy, stores):
    tree, recipe = toy("xnlg")
    first, second = stage_trees(tree)
    done = run_job(Job(first, stores(recipe), None))
    before = {n: t.clone() for n, t in own_tensors(done.model).items()}
    fresh = own_tensors(make_model(check(first), done.facts, seed=0))
    moved = {n.split(".")[1] for n, t in before.items() if n.startswith("backbone.") and not torch.equal(t, fresh[n])}
    assert moved == {"encoder"}
    done = run_job(Job(second, stores(recipe), None, init=before))
    for name, tensor in own_tensors(done.model).items():
        if name.startswith("backbone.encoder"):
            assert torch.equal(tensor, before[name]), name
    moved = [n for n, t in own_tensors(done.model).items() if "decoder.blocks" in n and not torch.equal(t, before[n])]
    assert len(moved) > 20


@pytest.mark.contract
def test_ramachandrans_second_stage_begins_with_every_byte_of_the_first_ones_language_models(toy, stores):
    tree, recipe = toy("ramachandran")
    made = stores(check(stage_trees(tree)[1]))
    first = run_job(Job(stage_trees(tree)[0], made, None))
    before, fresh = own_tensors(first.model), own_tensors(make_model(check(stage_trees(tree)[0]), first.facts, seed=0))
    assert sum(not torch.equal(t, fresh[n]) for n, t in before.items()) >= 10
    tree.keys["stages"][1] |= {"optim": {"kind": "sgd", "lr": 0.0}}  # so that the end shows the beginning
    last = own_tensors(run_job(Job(tree, made, None)).model)
    assert last.keys() == before.keys() and all(torch.equal(t, before[n]) for n, t in last.items())


def test_xnlg_writes_the_same_language_or_the_other_by_turns(toy, stores):
    tree, recipe = toy("xnlg")
    second = check(stage_trees(tree)[1])
    made = Stage(Job(tree, stores(recipe), None), second, 0, device=torch.device("cpu"), ranks=ALONE)
    model = make_model(second, made.facts, seed=0)
    feed, _ = made.feeds(model, {"micro": 8, "steps": 100})
    assert {name for step in range(60) for name in feed.active(step)} == {"dae", "xae", "xae_back"}
    pairs = stores(recipe)["there"]
    for step in range(40):
        for work in feed.step(step).works:
            (name,), batch = work.names, work.micros[0]
            same = batch.lang == batch.decoder_lang
            assert same.all() if name == "dae" else not same.any()
            if name != "dae":
                sides = ("tokens", "second") if name == "xae" else ("second", "tokens")
                row = int(batch.row[0])
                places = [slice(*pairs.offsets(side)[row : row + 2]) for side in sides]
                read, asked = (pairs[side][at].tolist() for side, at in zip(sides, places, strict=True))
                labels = batch.decoder_labels[0]
                assert batch.ids[0].tolist()[1 : len(read) + 1] == read[:30]
                assert labels[labels >= 0].tolist()[:-1] == asked[:31]
                assert set(batch.lang.tolist()) == {0 if name == "xae" else 1}


@pytest.mark.parametrize("name", ["backbone.encoders", "backbone.decoder.blocks.7"])
def test_freezing_a_part_that_is_not_there_is_told(toy, stores, name):
    tree, recipe = toy("mass", f"loop.frozen=[{name}]")
    with pytest.raises(RecipeError, match=rf"(?s)loop\.frozen: no part of the model named '{name}'; did you mean"):
        run_job(Job(tree, stores(recipe), None))
