"""Averaged steps: when they begin, and what they come to."""

from __future__ import annotations

import copy

import pytest
import torch

from modeledge.core import find
from modeledge.optim import exchange, tell


def make(patience=2, lr=0.1):
    torch.manual_seed(0)
    weight, bias = torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(3))
    part = find("optim", "nt_asgd")
    optimizer = part(part.Config(kind="nt_asgd", lr=lr, patience=patience)).make([("w", weight), ("b", bias)])
    return weight, bias, optimizer


def step(optimizer, *parameters):
    for p in parameters:
        p.grad = torch.randn_like(p)
    optimizer.step()


@pytest.mark.parametrize(
    "losses, begins",
    [
        ([5, 4, 3, 2, 1, 0.5], None),
        ([5, 4, 3, 3.5, 3.9, 3.2], 5),  # 3.2 against 5, 4, 3 and 3.5; 3.9 only against 5, 4
        ([3, 4, 4, 4], 3),
        ([3, 2, 4, 2.5, 9], 4),
        ([9, 9, 9, 9, 9], None),
    ],
)
def test_the_mean_begins_with_a_loss_worse_than_the_best_before_the_last_ones(losses, begins):
    _, _, optimizer = make(patience=2)
    first = None
    for n, loss in enumerate(losses):
        tell(optimizer, loss)
        first = n if first is None and optimizer.averages else first
    assert first == begins


def test_the_average_is_the_mean_of_the_steps_since_and_is_exchanged_for_judging():
    weight, bias, optimizer = make()
    step(optimizer, weight, bias)
    for loss in (1.0, 2.0, 3.0, 4.0):
        tell(optimizer, loss)
    assert optimizer.averages
    seen = []
    for _ in range(5):
        step(optimizer, weight, bias)
        seen.append((weight.detach().clone(), bias.detach().clone()))
    exchange(optimizer)
    for p, steps in zip((weight, bias), zip(*seen, strict=True), strict=True):
        torch.testing.assert_close(p.detach(), torch.stack(steps).mean(0))
    exchange(optimizer)
    assert torch.equal(weight, seen[-1][0]) and torch.equal(bias, seen[-1][1])


def test_its_steps_are_plain_and_go_on_as_before_once_averaging():
    weight, bias, optimizer = make(lr=0.1)
    for loss in (1.0, 2.0, 3.0, 4.0):
        tell(optimizer, loss)
    before, grad = weight.detach().clone(), torch.ones_like(weight)
    weight.grad, bias.grad = grad, torch.zeros_like(bias)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before - 0.1 * grad)


def test_a_restored_optimizer_goes_on_with_what_it_heard_and_averaged():
    weight, bias, optimizer = make()
    for loss in (1.0, 2.0, 3.0, 4.0):
        tell(optimizer, loss)
    step(optimizer, weight, bias)
    other_weight, other_bias, other = make()
    with torch.no_grad():
        other_weight.copy_(weight), other_bias.copy_(bias)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one in ((weight, bias, optimizer), (other_weight, other_bias, other)):
        torch.manual_seed(7)
        step(one[2], *one[:2])
        exchange(one[2])
    assert torch.equal(weight, other_weight) and torch.equal(bias, other_bias)
