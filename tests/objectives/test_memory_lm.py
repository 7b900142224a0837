"""Language modelling with a memory: against one long pass, where it ends, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import Batch, Facts, RecipeError, build, find, keyed
from modeledge.visibility import see
from modeledge.visibility.causal import causal

SMALL = {"kind": "transformer_xl", "width": 16, "layers": 3, "heads": 2, "ffn": {"kind": "mlp", "width": 24}}


def model(vocab=30, **changes):
    torch.manual_seed(1)
    config = find("backbones", "transformer_xl").Config.model_validate({**SMALL, **changes})
    return build("backbones", config, Facts(vocab=vocab)).eval()


def objective(backbone, vocab=30, **settings):
    config = find("objectives", "memory_lm").Config.model_validate({"kind": "memory_lm", **settings})
    return build("objectives", config, Facts(vocab=vocab, special={"eos": 0}), backbone).eval()


def rows(ids, fresh):
    return Batch(ids=ids, special=np.zeros(ids.shape, bool), fresh=np.full(len(ids), fresh))


def ready(made, ids, fresh, **more):
    return made.view(rows(ids, fresh).but(**more), keyed("v")).tensors()


@torch.no_grad()
@pytest.mark.parametrize("biases", ["shared", "own"])
def test_segments_with_memory_equal_one_long_pass(biases):
    backbone = model(biases=biases)
    made = objective(backbone, memory=8)
    made.prepare(2)
    ids = np.random.default_rng(0).integers(1, 30, (2, 12))
    whole = backbone(Batch(ids=torch.tensor(ids)), see(causal, 2, 12, device="cpu")).states
    for begin in (0, 4, 8):
        batch = ready(made, ids[:, begin : begin + 4], begin == 0)
        made.held_out.settle()
        states = made.run(backbone, batch).states
        torch.testing.assert_close(states, whole[:, begin : begin + 4], atol=1e-5, rtol=0)
        made(backbone, batch)


def test_no_gradient_flows_into_the_memory_and_a_fresh_row_has_none():
    backbone = model().train()
    made = objective(backbone, memory=4).train()
    made.prepare(2)
    ids = np.random.default_rng(0).integers(1, 30, (2, 4))
    made(backbone, ready(made, ids, True))
    made.after_step(1)
    assert made.memory.filled.tolist() == [4, 4] and not made.memory.states.requires_grad
    words = backbone.embed(torch.tensor(ids)).detach()
    known, void = (made._before(ready(made, ids, fresh)) for fresh in (False, True))
    torch.testing.assert_close(known.states[:, 0], words * 4)  # what the first layer read
    assert void.filled.tolist() == [0, 0]
    with torch.no_grad():
        fresh = made.run(backbone, ready(made, ids, True)).states
        alone = backbone(Batch(ids=torch.tensor(ids)), see(causal, 2, 4, device="cpu")).states
        later = made.run(backbone, ready(made, ids, False)).states
    torch.testing.assert_close(fresh, alone, atol=1e-5, rtol=0)
    assert (later - alone).abs().max() > 1e-3


def test_memory_ends_where_the_document_ends_if_they_are_kept_apart():
    backbone = model()
    made = objective(backbone, memory=6)
    made.prepare(1)
    ids, doc = np.array([[3, 4, 0, 5, 6, 7]]), np.array([[0, 0, 0, 1, 1, 1]])
    with torch.no_grad():
        made(backbone, ready(made, ids, True, doc=doc, special=ids == 0))
        made.held_out.settle()
        assert made.held_out.filled.tolist() == [3]  # 5 6 7
        batch = ready(made, np.array([[8, 0, 9, 10]]), False, doc=np.array([[0, 0, 1, 1]]))
        found = made.run(backbone, batch, keep={"blocks.0.attention"}).kept["blocks.0.attention"][0, 0]
    assert (found[0, :6] > 0).tolist() == [False] * 3 + [True] * 3 and (found[2, :8] == 0).all()


def test_with_the_same_reach_every_token_sees_as_many_keys():
    backbone = model()
    made = objective(backbone, memory=5, reach="same")
    made.prepare(1)
    ids = np.random.default_rng(0).integers(1, 30, (1, 5))
    with torch.no_grad():
        made(backbone, ready(made, ids, True))
        made.held_out.settle()
        kept = made.run(backbone, ready(made, ids, False), keep={"blocks.1.attention"}).kept["blocks.1.attention"]
    assert ((kept > 0).sum(-1) == 6).all()


def test_a_backbone_without_memory_is_refused(lab):
    with pytest.raises(RecipeError, match="backbone with memory"):
        lab.objective("memory_lm", lab.backbone())


@pytest.mark.slow
@pytest.mark.parametrize("length", [0, 24])
def test_only_memory_tells_what_stood_longer_ago_than_a_row_is_long(length):
    """Each token repeats the one 20 places before it; rows are 12 long and 8 letters are equally likely."""
    backbone = model(vocab=9, width=48, layers=2, heads=4).train()
    made = objective(backbone, vocab=9, memory=length).train()
    made.prepare(32)
    rng, steps = np.random.default_rng(0), 700
    stream = np.tile(rng.integers(1, 9, (32, 20)), (1, 3))
    optimizer = torch.optim.Adam([*backbone.parameters(), *made.parameters()], lr=2e-3)
    last = []
    for step in range(steps):
        if step % 5 == 0:
            stream = np.tile(rng.integers(1, 9, (32, 20)), (1, 3))
        begin = 12 * (step % 5)
        batch = ready(made, stream[:, begin : begin + 12], step % 5 == 0)
        loss = made(backbone, batch)["memory_lm"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        made.after_step(step)
        if step > steps - 50 and step % 5 >= 2:  # places 24 to 59: what they repeat has been seen
            last.append(loss.item())
    floor = np.log(8)
    assert np.mean(last) < floor / 2 if length else np.mean(last) > 0.95 * floor
