"""Language models of either side of a translation model, and what they leave behind for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import Batch, Facts, Output, RecipeError, find
from modeledge.run.model import Model

V = 25
HEAD = {"kind": "token", "transform": "none"}
RAMA = {"directions": "forward", "attends": "ends", "residual": "first", "tables": "own"}


def facts():
    return Facts(vocab=V, special={"pad": 0, "bos": 1, "eos": 2}, words=(3, V), counts=np.ones(V))


def make(**backbone):
    torch.manual_seed(0)
    part = find("backbones", "lstm_seq2seq")
    return part(part.Config(kind="lstm_seq2seq", width=8, input=8, **RAMA | backbone), facts()).eval()


def objective(kind, backbone, **settings):
    part = find("objectives", kind)
    return part(part.Config.model_validate({"kind": kind, "head": HEAD, **settings}), facts(), backbone).eval()


def some(b=3, t=7, seed=0):
    rng = np.random.default_rng(seed)
    return Batch(ids=rng.integers(3, V, (b, t)), target_ids=rng.integers(3, V, (b, t)))


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_the_loss_is_that_of_a_plain_loop_over_the_first_layer(side):
    backbone = make()
    lm = objective("side_lm", backbone, side=side)
    batch = lm.view(some(), np.random.default_rng(0))
    part = getattr(backbone, side)
    states, _ = part.stacks[0][0](part.embed(torch.from_numpy(batch.ids)))
    nll = sum(
        -(states[row, k] @ part.embed.weight.T + lm.head.bias).log_softmax(-1)[batch.ids[row, k + 1]]
        for row in range(3)
        for k in range(6)
    )
    found = lm(backbone, batch.tensors())["side_lm"]
    torch.testing.assert_close(found.total, nll)
    assert found.count == 18 == lm.counts(batch)["side_lm"]


def test_with_nothing_attended_to_the_translation_is_scored_by_the_target_sides_language_model():
    backbone = make()
    lm = objective("side_lm", backbone, side="decoder")
    task = objective("seq2seq", backbone, start="bos")
    task.head = lm.head
    torch.nn.init.normal_(lm.head.bias)
    torch.nn.init.zeros_(backbone.join.weight)
    batch = task.view(some(), np.random.default_rng(0)).tensors()
    told = task.head(task.run(backbone, batch).states)
    alone = lm.head(lm.run(backbone, Batch(ids=batch.decoder_ids)).states)
    assert torch.equal(told, alone)


def test_all_parts_are_trained_by_the_task_and_both_language_models():
    backbone = make()
    parts = [objective("side_lm", backbone, side=side, name=side) for side in ("encoder", "decoder")]
    task = objective("seq2seq", backbone, start="bos")
    task.head = parts[1].head
    sums = [o(backbone, o.view(some(), np.random.default_rng(0)).tensors()) for o in (*parts, task)]
    sum(s.total for found in sums for s in found.values()).backward()
    model = torch.nn.ModuleList([backbone, *parts, task])
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_recipe_begins_with_the_language_models_alone_and_needs_no_tensor_beyond_theirs():
    """The tensors are the same ones in both stages; that they arrive is tests/recipes/test_lingual.py's."""
    from modeledge.recipe.resolve import resolve
    from modeledge.recipe.schema import check
    from modeledge.run.checkpoint import own_tensors
    from modeledge.run.feed import Feed
    from modeledge.run.job import stage_trees

    first, second = (check(t) for t in stage_trees(resolve("ramachandran", size="tiny")))
    alone, both = Model(first, facts()), Model(second, facts())
    feed = Feed({}, dict(both.each()), second.mix, batch=4, micro=4, seed=0, total=100)
    assert feed.active(0) == ["source_lm", "target_lm", "seq2seq"] and list(alone.objectives) == feed.active(0)[:2]
    assert [o.config.weight for _, o in both.each()] == [1.0, 1.0, 1.0]
    assert both.objectives["seq2seq"].head is both.objectives["target_lm"].head
    assert own_tensors(alone).keys() == own_tensors(both).keys()  # all that is carried over, and all that is needed


def test_a_side_that_reads_ahead_and_a_backbone_without_sides_are_refused():
    with pytest.raises(RecipeError, match="one direction"):
        objective("side_lm", make(directions="joined"))
    table = find("backbones", "table")
    with pytest.raises(RecipeError, match="lstm_seq2seq"):
        objective("side_lm", table(table.Config(kind="table", width=8), facts()))


def test_a_beam_of_one_writes_what_the_greedy_search_writes():
    from modeledge.run.generate import generate
    from modeledge.run.search import Beam, Greedy

    backbone = make()
    with torch.no_grad():
        for p in backbone.parameters():
            p.mul_(3)
    task = objective("seq2seq", backbone, start="bos")
    batch = Batch(ids=torch.from_numpy(some().ids))
    greedy = generate(backbone, task, batch, Greedy(), limit=8)
    beam = generate(backbone, task, batch, Beam(beams=1), limit=8)
    assert torch.equal(greedy, beam[:, : greedy.shape[1]])
    ids = torch.full((3, 1), 1)
    for step in range(greedy.shape[1]):  # a plain loop that reads everything anew
        out: Output = backbone(Batch(ids=batch.ids, decoder_ids=ids))
        best = task.head(out.states[:, -1]).argmax(-1)
        going = ~(ids[:, 1:] == 2).any(1)
        assert torch.equal(best[going], greedy[going, step])
        ids = torch.cat([ids, best[:, None]], 1)
