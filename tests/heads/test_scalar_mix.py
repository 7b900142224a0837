"""The mix of layers against its closed form, and as the features of a task on a frozen backbone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modeledge.core import Batch, Facts, find


def make(layers=2, **settings):
    part = find("heads", "scalar_mix")
    backbone = SimpleNamespace(width=4, config=SimpleNamespace(layers=layers))
    return part(part.Config(kind="scalar_mix", **settings), Facts(), backbone)


def some_states(n=3):
    torch.manual_seed(0)
    return [torch.randn(2, 5, 4) for _ in range(n)]


def test_at_first_it_is_the_plain_mean():
    states = some_states()
    torch.testing.assert_close(make().mix(states), torch.stack(states).mean(0))


def test_it_is_gamma_times_the_softmax_weighted_sum_and_blind_to_a_shift_of_the_weights():
    mix, states = make(), some_states()
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.3, -1.0, 2.0]))
        mix.gamma.fill_(1.7)
        s = np.exp([0.3, -1.0, 2.0]) / np.exp([0.3, -1.0, 2.0]).sum()
        expected = 1.7 * sum(w * x.numpy() for w, x in zip(s, states, strict=True))
        np.testing.assert_allclose(mix.mix(states).numpy(), expected, atol=1e-6)
        mix.weights.add_(5.0)
        np.testing.assert_allclose(mix.mix(states).numpy(), expected, atol=1e-5)
        mix.weights.copy_(torch.tensor([0.0, 60.0, 0.0]))
        torch.testing.assert_close(mix.mix(states), 1.7 * states[1])


def test_the_gradient_of_the_weights_sums_to_zero_and_gamma_has_one():
    mix, states = make(), some_states()
    (mix.mix(states) ** 2).sum().backward()
    assert abs(mix.weights.grad.sum()) < 1e-4 < mix.weights.grad.abs().max() and mix.gamma.grad.abs() > 0


def test_with_a_norm_each_layer_counts_by_direction_not_by_length():
    mix, states = make(norm="layer"), some_states()
    louder = [states[0], 100 * states[1], states[2] + 3]
    torch.testing.assert_close(mix.mix(louder), mix.mix(states), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("penalty, far", [(0.0, True), (10.0, False)])
def test_a_large_penalty_drives_the_shares_to_the_plain_mean(penalty, far):
    mix, states = make(penalty=penalty), some_states()
    target, optimizer = 2 * states[2], torch.optim.Adam(mix.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (F.mse_loss(mix.mix(states), target) + mix.penalty()).backward()
        optimizer.step()
    spread = (mix.shares() - 1 / 3).abs().max().item()
    assert (spread > 0.5) if far else (spread < 0.05), spread


def elmo():
    torch.manual_seed(0)
    facts = Facts(vocab=20, special={"pad": 0}, labels={"label": ["x", "y", "z"]})
    lstm = find("backbones", "lstm")
    config = lstm.Config(kind="lstm", width=6, cell=8, dropout=0.5, embedding={"kind": "tokens"})
    backbone = lstm(config, facts)
    tag = find("objectives", "tag")
    task = tag(tag.Config(kind="tag", train="head", mix={"kind": "scalar_mix"}), facts, backbone)
    return backbone, task


def test_at_transfer_the_encoder_is_frozen_and_only_weights_gamma_and_the_task_train():
    backbone, task = elmo()
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 20, (4, 7))
    batch = task.finish(task.view(Batch(ids=ids, labels=ids % 3), rng)).tensors()
    before = {n: p.detach().clone() for n, p in backbone.named_parameters()}
    model = torch.nn.ModuleDict({"backbone": backbone, "task": task}).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05, weight_decay=0.1)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        found = task(backbone, batch)["tag"].mean()
        found.backward()
        optimizer.step()
        losses.append(found.item())
    assert all(p.grad is None and torch.equal(p, before[n]) for n, p in backbone.named_parameters())
    assert {n for n, p in task.named_parameters() if p.grad is not None} >= {"mix.weights", "mix.gamma"}
    assert losses[-1] < 0.8 * losses[0] and task.mix.gamma != 1 and (task.mix.weights != 0).all()
