"""The twin and its queue, against closed forms and a plain list."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from modeledge.objectives._momentum import Queue, Twin, against_queue


def test_the_twin_is_the_weighted_mean_of_the_past():
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    twin = Twin(net, momentum=0.8)
    with torch.no_grad():
        net.weight.add_(1.0)  # weights loaded after it was built count
    twin.begin()
    past = [net.weight.detach().clone()]
    for _ in range(5):
        with torch.no_grad():
            net.weight.add_(torch.randn_like(net.weight))
        past.append(net.weight.detach().clone())
        twin.move()
    wanted = 0.8**5 * past[0] + sum(0.2 * 0.8 ** (5 - i) * past[i] for i in range(1, 6))
    torch.testing.assert_close(twin.copies[0].weight, wanted)
    assert not any(p.requires_grad for p in twin.parameters()) and not twin.train().training
    again = Twin(nn.Linear(3, 2), momentum=0.8)
    again.load_state_dict(copy.deepcopy(twin.state_dict()))
    again.begin()  # a twin that comes from a checkpoint does not begin anew
    torch.testing.assert_close(again.copies[0].weight, wanted)


def test_the_queue_is_first_in_first_out_and_wraps_around():
    queue, plain = Queue(7, 2), []
    for step in range(9):
        keys = torch.randn(step % 4 + 1, 2)
        before = queue.keys.clone()
        queue.note(keys)
        assert torch.equal(queue.keys, before)  # until the step was applied
        queue.settle()
        plain += keys.tolist()
        held = sorted(queue.keys[: len(plain)].tolist())
        torch.testing.assert_close(torch.tensor(held), torch.tensor(sorted(plain[-7:])))
        assert bool(queue.full) == (len(plain) >= 7)
    queue.note(torch.arange(20.0).reshape(10, 2))
    queue.settle()
    assert sorted(queue.keys[:, 0].tolist()) == [6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0]


def test_the_loss_is_the_cross_entropy_of_positive_and_queue_once_it_is_full():
    torch.manual_seed(0)
    queries, keys = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    queue = Queue(5, 4)
    queue.note(torch.randn(5, 4))
    queue.settle()
    found = against_queue(queries, keys, queue, temperature=0.25)
    wanted = 0.0
    for q, k in zip(queries, keys, strict=True):
        scores = torch.stack([q @ k, *(q @ n for n in queue.keys)]) / 0.25
        wanted = wanted - F.log_softmax(scores, 0)[0]
    torch.testing.assert_close(found, wanted)
    found.backward()
    assert keys.grad is None and queries.grad is not None


def test_until_the_queue_is_full_its_keys_stand_for_all_and_teach_nothing():
    """The mean over many queues of some of the keys is about what all of them cost: no figure is low for want of
    negatives."""
    torch.manual_seed(0)
    queries, keys, pool = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4), torch.randn(64, 4)

    def cost(count):
        queue = Queue(64, 4)
        queue.note(pool[torch.randperm(64)[:count]])
        queue.settle()
        return against_queue(queries, keys, queue, temperature=1.0)

    full = cost(64)
    few = torch.stack([cost(16) for _ in range(200)])
    assert abs(few.mean() - full) < 0.05 * full and few.std() > 0
    (gradient,) = torch.autograd.grad(few.sum(), queries)
    assert not gradient.any() and torch.autograd.grad(full, queries)[0].any()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(cost(64), full)
    none = against_queue(queries, keys, Queue(64, 4), temperature=1.0)
    torch.testing.assert_close(none, (1 + 64 * (-(queries * keys).sum(-1)).exp()).log().sum().detach())
