"""Permutation language modelling: XLNet's loss, no leak, memory that follows the rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import XLNetConfig, XLNetLMHeadModel

from modeledge.core import IGNORE, Batch, RecipeError, keyed
from modeledge.objectives.plm import gather_places


def stream(lab, step, *, rows=3, t=16, seed=0):
    """Consecutive rows of three streams."""
    ids = keyed("stream", seed, step).integers(*lab.facts.words, (rows, t)).astype(np.int32)
    return Batch(ids=ids, special=np.zeros(ids.shape, bool), fresh=np.full(rows, step == 0))


@torch.no_grad()
def test_the_loss_is_that_of_xlnet_with_real_tokens_in_the_content_stream(lab, adopt):
    config = XLNetConfig(vocab_size=60, d_model=16, n_layer=2, n_head=2, d_inner=24, dropout=0, initializer_range=0.3)
    theirs = XLNetLMHeadModel(config).eval()
    backbone, objectives = adopt(theirs)
    objective = objectives["plm"]
    rows = lab.rows(3, 16, padded=False)
    view = lab.view(objective, rows, 1)
    batch = objective.finish(view).tensors()
    found = objective(backbone, batch)["plm"]
    rank, target = batch.rank, batch.predicted
    hidden = ~((rank + (~target).long())[:, :, None] > rank[:, None, :])
    labels = batch.labels
    mapping = torch.nn.functional.one_hot(batch.query_at, 16).float() * (labels != IGNORE)[..., None]
    wanted = theirs(
        torch.from_numpy(rows.ids).long(), perm_mask=hidden.float(), target_mapping=mapping, labels=labels,
        token_type_ids=batch.segments,
    ).loss  # fmt: skip
    assert found.mean().item() == pytest.approx(wanted.item(), abs=1e-5)
    assert np.array_equal(view.ids, rows.ids)  # nothing is replaced


def test_a_sixth_of_the_tokens_is_predicted_and_the_others_are_free(lab):
    objective = lab.objective("plm", lab.backbone("two_stream"), reuse=0.5)
    rows = lab.rows(200, 48, padded=False)
    view = lab.view(objective, rows, 1)
    for half in (slice(0, 24), slice(24, 48)):
        ordinary = (~rows.special[:, half]).sum(1)
        assert np.array_equal(view.predicted[:, half].sum(1), np.round(ordinary / 6))
    assert not view.predicted[rows.special].any()
    free = ~view.predicted & ~rows.special
    assert (view.rank[:, :24][free[:, :24]] == -1).all()
    assert (view.rank[:, :24].max(1) < view.rank[:, 24:].min(1)).all()


def test_a_prediction_depends_on_what_comes_before_it_in_the_order_only(lab):
    """On the tokens' content, by exact gradients; memory is of the past and allowed."""
    backbone = lab.backbone("two_stream", std=0.3)
    objective = lab.objective("plm", backbone, reuse=0.5, memory=8)
    objective.prepare(3)
    objective.train(), backbone.train()
    for step in (0, 1):
        batch = lab.ready(objective, stream(lab, step), step)
        objective(backbone, batch)
        objective.after_step(step)
    words = backbone.embed(batch.ids).detach().requires_grad_()
    backbone.embed.forward = lambda ids: words
    states = objective.run(backbone, batch).query_states
    for b in range(3):
        for i, place in enumerate(batch.query_at[b].tolist()):
            if batch.labels[b, i] == IGNORE:
                continue
            (grad,) = torch.autograd.grad(states[b, i] @ torch.randn(16), words, retain_graph=True)
            assert ((grad[b].abs().sum(-1) > 0) == (batch.rank[b] < batch.rank[b, place])).all()
            assert not (grad[b, 8:].any() and place < 8)  # the reused half never knows the other


def test_memory_is_one_long_row_and_no_gradient_enters_it(lab):
    """Two rows with full memory give the states of one row of both, if nothing is predicted."""
    backbone = lab.backbone("two_stream", std=0.3)
    objective = lab.objective("plm", backbone, memory=16, rate=0.001)
    objective.prepare(3)
    objective.train()
    first, second = stream(lab, 0), stream(lab, 1)
    for step, rows in enumerate((first, second)):
        view = lab.view(objective, rows, step)
        left_to_right = np.broadcast_to(np.arange(16), view.rank.shape)  # functional tokens in order: Transformer-XL
        view = view.but(rank=left_to_right, predicted=np.zeros_like(view.predicted))
        batch = objective.finish(view).tensors()
        out = objective.run(backbone, batch)
        objective(backbone, batch)
        objective.after_step(step)
    long = np.concatenate([first.ids, second.ids], 1)
    whole = lab.objective("plm", backbone)
    view = lab.view(whole, Batch(ids=long, special=np.zeros(long.shape, bool)), 1)
    view = view.but(rank=np.broadcast_to(np.arange(32), long.shape), predicted=np.zeros_like(view.predicted))
    wanted = whole.run(backbone, whole.finish(view).tensors()).states[:, 16:]
    torch.testing.assert_close(out.states, wanted, atol=1e-5, rtol=1e-5)
    assert not objective.memory.states.requires_grad


def run_steps(lab, objective, backbone, steps, *, micro=3, refuse=()):
    losses = []
    for step in steps:
        view = lab.view(objective, stream(lab, step), step)
        total = 0.0
        for begin in range(0, 3, micro):
            batch = objective.finish(view.rows(slice(begin, begin + micro))).tensors()
            total += objective(backbone, batch)["plm"].total.item()
        if step not in refuse:
            objective.after_step(step)
        losses.append(total)
    return losses


def remembering(lab, **settings):
    torch.manual_seed(0)
    backbone = lab.backbone("two_stream", std=0.3)
    objective = lab.objective("plm", backbone, **{"memory": 20, "reuse": 0.5, **settings})
    objective.prepare(3)
    return backbone, objective.train()


def test_memory_survives_a_checkpoint_and_does_not_depend_on_micro_batches(lab):
    backbone, one = remembering(lab)
    losses = run_steps(lab, one, backbone, range(4))
    _, other = remembering(lab)
    start = run_steps(lab, other, backbone, range(2), micro=1)
    _, third = remembering(lab)
    third.load_state_dict(other.state_dict())
    assert start + run_steps(lab, third, backbone, range(2, 4)) == pytest.approx(losses, rel=1e-6)
    _, blank = remembering(lab)
    assert run_steps(lab, blank, backbone, [3])[0] != pytest.approx(losses[3], rel=1e-3)  # the memory is used
    assert other.memory.filled.tolist() == [16] * 3 and one.memory.filled.tolist() == [20] * 3


def test_a_refused_step_leaves_no_trace(lab):
    backbone, one = remembering(lab)
    _, other = remembering(lab)
    run_steps(lab, one, backbone, range(2))
    run_steps(lab, other, backbone, [0, 1, 7], refuse=[7])
    assert torch.equal(one.memory.states, other.memory.states)


def test_held_out_rows_have_a_memory_of_their_own(lab):
    backbone, objective = remembering(lab)
    run_steps(lab, objective, backbone, range(2))
    before = objective.memory.states.clone()
    objective.eval()
    once = run_steps(lab, objective, backbone, range(3), refuse=range(3))
    again = run_steps(lab, objective, backbone, range(3), refuse=range(3))
    assert once == again and torch.equal(objective.memory.states, before)
    batch = lab.ready(objective, stream(lab, 1), 1)
    objective(backbone, batch)
    first = objective.measure(backbone, batch)["accuracy"]
    assert objective.measure(backbone, batch)["accuracy"] == first  # measuring remembers nothing
    assert "held_out.states" not in objective.state_dict()


def test_a_fresh_row_sees_nothing_of_what_was_remembered(lab):
    backbone, objective = remembering(lab)
    run_steps(lab, objective, backbone, range(2))
    batch = lab.ready(objective, stream(lab, 0), 1)
    with_memory = objective(backbone, batch)["plm"].total
    objective.memory.states.normal_()
    assert torch.equal(objective(backbone, batch)["plm"].total, with_memory)


def test_with_documents_kept_apart_only_the_one_that_goes_on_is_remembered(lab):
    backbone, objective = remembering(lab, reuse=1.0)
    doc = np.zeros((3, 16), np.int32)
    doc[1, 10:], doc[2, 4:] = 1, 1
    special = np.zeros((3, 16), bool)
    special[2, 15] = True  # ends exactly with the row
    rows = stream(lab, 0).but(doc=doc, special=special)
    batch = lab.ready(objective, rows, 1)
    objective(backbone, batch)
    objective.after_step(0)
    assert objective.memory.filled.tolist() == [16, 6, 0]
    following = stream(lab, 1).but(doc=(np.arange(16) > 7).astype(np.int32) + np.zeros((3, 1), np.int32))
    batch = lab.ready(objective, following, 2)
    states = objective.run(backbone, batch).states
    objective.memory.states[1, :, -6:].normal_()
    moved = (objective.run(backbone, batch).states != states).any(-1)
    assert moved[1, :8].all() and not moved[1, 8:].any() and not moved[[0, 2]].any()


def test_pairs_end_the_row_and_the_text_before_them_stays(lab):
    objective = lab.objective("plm", lab.backbone("two_stream"), reuse=1 / 3, layout="pair")
    rows = stream(lab, 0, t=24)
    view = lab.view(objective, rows, 1)
    assert np.array_equal(view.ids[:, :8], rows.ids[:, :8])
    assert (view.ids[:, -1] == 2).all() and (view.ids[:, -2] == 3).all() and ((view.ids == 3).sum(1) == 2).all()
    assert set(np.unique(view.segments)) == {0, 1, 2} and not view.predicted[view.special].any()


def test_wrong_settings_say_what_is_missing(lab):
    with pytest.raises(RecipeError, match="needs backbone.kind: two_stream, found 'transformer'"):
        lab.objective("plm", lab.backbone())
    with pytest.raises(RecipeError, match="pair needs a `reuse` below 1"):
        lab.objective("plm", lab.backbone("two_stream"), layout="pair")
    objective, rows = lab.objective("plm", lab.backbone("two_stream"), layout="pair", reuse=0.8), stream(lab, 0, t=24)
    assert ((lab.view(objective, rows, 1).segments == 1).sum(1) >= 1).all()
    objective = lab.objective("plm", lab.backbone("two_stream"), layout="pair", reuse=0.82)
    with pytest.raises(RecipeError, match="keeps 20 of 24 tokens and .* needs 5\n  next: a smaller"):
        lab.view(objective, rows, 1)
    objective = lab.objective("plm", lab.backbone("two_stream"), memory=4)
    with pytest.raises(RecipeError, match="use data: stream"):
        lab.view(objective, lab.rows(), 1)


def test_twins_are_predicted_jointly_which_no_product_of_marginals_can(lab):
    """Two hidden tokens that determine each other: the second one is known once the first is (C34)."""
    backbone = lab.backbone("two_stream", layers=1, width=32, ffn={"kind": "mlp", "width": 64})
    objective = lab.objective("plm", backbone)
    optimizer = torch.optim.Adam([*backbone.parameters(), *objective.parameters()], lr=1e-2)
    rng, total = keyed("twins"), 0.0
    target = np.ones((64, 2), bool)
    for _ in range(150):
        a = rng.integers(7, 23, (64, 1))
        ids = np.concatenate([a, a + 20], 1)
        rank = np.argsort(rng.random((64, 2)), axis=1)
        at, labels = gather_places(target, ids)
        batch = Batch(ids=ids, predicted=target, rank=rank, query_at=at, labels=labels).tensors()
        total = objective(backbone, batch)["plm"]
        optimizer.zero_grad()
        total.mean().backward()
        optimizer.step()
    joint = 2 * total.mean().item()
    assert math.log(16) * 0.95 < joint < 1.3 * math.log(16)  # a product of marginals costs 2 log 16
