"""Recipes that look things up, from stores to run folders."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from modeledge.core import Batch, InputError
from modeledge.data.sources.inverse_cloze import InverseCloze
from modeledge.run.checkpoint import own_tensors, path_of
from modeledge.run.job import run_job
from modeledge.run.keep import load_model
from modeledge.run.look_up import look_up
from modeledge.run.predict import evaluate_model
from modeledge.run.stage import Job
from modeledge.visibility import Seen


@pytest.mark.slow
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


def vector(model, name, ids):
    """Of one framed text, run by itself."""
    field = {"query": "query_ids", "passage": "ids"}[name]
    row = Batch({field: torch.tensor([ids])})
    return model.backbone(row, {name: Seen()}).towers[name].pooled[0].detach()


def test_a_search_is_judged_on_held_out_passages_of_a_store_or_on_the_rows_of_a_table(toy, stores, tmp_path):
    tree, recipe = toy("ict")
    store = stores(recipe)["text"]
    run_job(Job(tree, {"text": store}, tmp_path / "run"))
    told = evaluate_model(tmp_path / "run", store.path, task="retrieval")
    source = InverseCloze(recipe.data["text"], store.valid, load_model(tmp_path / "run").facts)
    assert told["n"] == told["keys"] == len(np.unique(source.passage)) and 0 <= told["bm25 recall@1"] <= 1
    passages = ["The dog sees the cat.", "The farmer likes the horse.", "The bird hears the fish.", "The cat is here."]
    rows = [("dog cat", 0), ("horse", 1), ("the child likes the horse", 1), ("fish", 2), ("a cat", 3)]
    lines = [json.dumps({"q": q, "p": passages[n]}) + "\n" for q, n in rows]
    (tmp_path / "pairs.jsonl").write_text("".join(lines))
    found = evaluate_model(
        tmp_path / "run", tmp_path / "pairs.jsonl", task="retrieval", columns={"text": "q", "second": "p"}
    )
    loaded = load_model(tmp_path / "run")
    model, encode, facts = loaded.model.eval(), loaded.facts.tokenizer.encode_batch, loaded.facts.special
    framed = lambda text: [facts["cls"], *encode([text])[0].tolist()[:30], facts["sep"]]  # noqa: E731
    keys = torch.stack([vector(model, "passage", framed(p)) for p in passages])
    scores = [keys @ vector(model, "query", framed(q)) for q, _ in rows]
    ranks = [s.argsort(descending=True).tolist().index(n) for s, (_, n) in zip(scores, rows, strict=True)]
    assert found["recall@1"] == pytest.approx(np.mean([r < 1 for r in ranks]))
    assert found["median_rank"] == pytest.approx(np.median(ranks) + 1)
    assert found["keys"] == 4 and found["n"] == 5
    with pytest.raises(InputError, match="--column second=COLUMN"):
        evaluate_model(tmp_path / "run", tmp_path / "pairs.jsonl", task="retrieval", columns={"text": "q"})


@pytest.mark.slow
def test_rag_answers_with_the_passages_it_read(toy, stores, tmp_path):
    tree, recipe = toy("rag_token")
    made = stores(recipe)
    run_job(Job(tree, made, tmp_path / "run"))
    told = look_up(tmp_path / "run", made["text"].path, ["The dog sees the cat", "horse"], limit=5)
    assert [t["text"] for t in told] == ["The dog sees the cat", "horse"]
    for answer in told:
        scores = [p["score"] for p in answer["passages"]]
        assert len(scores) == 5 and scores == sorted(scores, reverse=True) and isinstance(answer["answer"], str)
    with pytest.raises(InputError, match="does not search"):
        tree, recipe = toy("bert")
        run_job(Job(tree, stores(recipe), tmp_path / "bert"))
        look_up(tmp_path / "bert", made["text"].path, ["horse"])


@pytest.mark.slow
def test_realm_is_judged_on_held_out_rows_with_the_passages_of_the_training_part(toy, stores, tmp_path):
    tree, recipe = toy("realm", "stages=[]", "loop.evaluate.batches=99")
    store = stores(recipe)["text"]
    done = run_job(Job(tree, stores(recipe), tmp_path / "run"))
    told = evaluate_model(tmp_path / "run", store.path, task="loss")
    assert told["realm.utility"] != 0
    assert told.keys() == done.result.valid.keys()
    assert abs(told["realm"] - done.result.valid["realm"]) < 0.1  # other places are hidden
