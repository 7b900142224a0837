"""Cross-entropy against closed forms."""

import math

import torch
from torch import nn

from modeledge.core import IGNORE
from modeledge.losses.cross_entropy import accuracy, cross_entropy, head_loss


def test_the_sum_is_minus_log_p_of_the_counted_labels():
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([3, IGNORE, 0, 6, IGNORE])
    p = logits.double().exp() / logits.double().exp().sum(-1, keepdim=True)
    wanted = -sum(math.log(p[i, labels[i]]) for i in (0, 2, 3))
    found = cross_entropy(logits, labels)
    assert abs(found.total.item() - wanted) < 1e-5 and found.count == 3
    assert abs(found.mean().item() - wanted / 3) < 1e-5


def test_nothing_counted_gives_zero_and_no_nan():
    found = cross_entropy(torch.randn(2, 3), torch.full((2,), IGNORE))
    assert found.total == 0 and found.count == 0 and found.mean() == 0


def test_the_floor_of_the_smoothed_loss_is_the_entropy_of_the_smoothed_target():
    v, share = 10, 0.1
    q = torch.full((v,), share / v, dtype=torch.float64)
    q[4] += 1 - share
    labels = torch.tensor([4, IGNORE])
    floor = -(q * q.log()).sum()
    best = cross_entropy(q.log().float().repeat(2, 1), labels, smoothing=share)
    assert abs(best.total - floor) < 1e-5 and best.count == 1
    worse = cross_entropy(torch.randn(2, v), labels, smoothing=share)
    assert worse.total > floor


def test_a_head_without_a_loss_of_its_own_is_scored_in_full():
    torch.manual_seed(0)
    head, states, labels = nn.Linear(6, 11), torch.randn(23, 6), torch.randint(0, 11, (23,))
    for smoothing in (0.0, 0.1):
        found = head_loss(head, states, labels, smoothing=smoothing)
        assert found.total == cross_entropy(head(states), labels, smoothing=smoothing).total and found.count == 23


def test_half_precision_scores_are_summed_in_single():
    logits = torch.zeros(4096, 2, dtype=torch.bfloat16)
    total = cross_entropy(logits, torch.zeros(4096, dtype=torch.long)).total
    assert total.dtype == torch.float32 and abs(total.item() - 4096 * math.log(2)) < 1e-2


def test_accuracy_counts_the_highest_scores_of_counted_labels():
    logits = torch.eye(3)[[0, 1, 2, 2]]
    assert accuracy(logits, torch.tensor([0, 1, 0, IGNORE])) == 2
