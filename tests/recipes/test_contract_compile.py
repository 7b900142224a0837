"""`loop.compile` through the whole loop: the compiled model is trained, saved and judged as the plain one is."""

import json
from functools import partial

import pytest
import torch

from modeledge.run.checkpoint import own_tensors
from modeledge.run.job import run_job
from modeledge.run.keep import load_model
from modeledge.run.stage import Job


@pytest.mark.contract
@pytest.mark.parametrize("name", ["bert", "gpt2", "vit", "modern"])
def test_a_compiled_run_follows_the_plain_one(toy, stores, tmp_path, monkeypatch, name):
    """With AdamW: Muon, which iterates in bf16, makes the last bit of a gradient a difference of the step.
    What is compiled is the graph alone (backend eager): generating code takes a minute and is torch's affair."""
    graphs = []

    def count(graph, inputs, mode=None):
        graphs.append(mode)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=count))
    losses, ends = {}, {}
    for way, mode in {"false": [], "true": [None], "graphs": ["reduce-overhead"]}.items():
        graphs.clear()
        optim = "optim={kind: adamw, lr: 1e-3}"
        tree, recipe = toy(name, f"loop.compile={way}", "loop.steps=3", "loop.micro=4", optim)
        done = run_job(Job(tree, stores(recipe), tmp_path / way))
        lines = map(json.loads, (tmp_path / way / "metrics.jsonl").read_text().splitlines())
        losses[way] = [line.get("loss") or line["valid"] for line in lines]
        ends[way] = own_tensors(done.model)
        assert list(dict.fromkeys(graphs)) == mode
    for way in ("true", "graphs"):
        assert losses[way] == [pytest.approx(step, rel=1e-5) for step in losses["false"]]
        assert ends[way].keys() == ends["false"].keys()
        assert all(torch.allclose(t, ends[way][n], atol=1e-5) for n, t in ends["false"].items())
        assert own_tensors(load_model(tmp_path / way).model).keys() == ends[way].keys()
