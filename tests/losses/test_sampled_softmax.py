"""The sampled softmax against the full one."""

import torch
import torch.nn.functional as F

from modeledge.core import IGNORE
from modeledge.losses.sampled_softmax import sampled_cross_entropy


def make(m=6, v=9, d=5):
    torch.manual_seed(0)
    states, weight, bias = torch.randn(m, d), torch.randn(v, d), torch.randn(v)
    return states, weight, bias, torch.randint(0, v, (m,))


def test_with_every_class_sampled_once_it_is_the_full_cross_entropy():
    states, weight, bias, labels = make()
    labels[2] = IGNORE
    sample = torch.randperm(9)  # holds every label too: it must count once
    found = sampled_cross_entropy(states, labels, weight=weight, bias=bias, sample=sample, log_expected=torch.zeros(9))
    full = F.cross_entropy(states @ weight.T + bias, labels, ignore_index=IGNORE, reduction="sum")
    torch.testing.assert_close(found.total, full)
    assert found.count == 5


def test_many_samples_from_a_skewed_noise_come_near_the_full_loss_and_its_gradient():
    states, weight, bias, labels = make(m=16, v=40)
    noise = torch.softmax(torch.randn(40), 0)
    n = 60_000
    sample = torch.multinomial(noise, n, replacement=True)
    states.requires_grad_()
    log_expected = (n * noise).log()
    sampled_cross_entropy(
        states, labels, weight=weight, bias=bias, sample=sample, log_expected=log_expected
    ).total.backward()
    twin = states.detach().clone().requires_grad_()
    full = F.cross_entropy(twin @ weight.T + bias, labels, reduction="sum")
    full.backward()
    assert (states.grad - twin.grad).abs().max() < 0.05


def test_a_row_whose_whole_sample_is_its_label_costs_nothing_and_has_a_finite_gradient():
    states, weight, bias, _ = make(m=1)
    states.requires_grad_()
    found = sampled_cross_entropy(
        states, torch.tensor([3]), weight=weight, bias=bias, sample=torch.tensor([3, 3]), log_expected=torch.zeros(9)
    )
    found.total.backward()
    assert found.total == 0 and torch.isfinite(states.grad).all()


def test_under_autocast_the_label_s_own_score_is_exact():
    """What is rounded is the other classes' score alone."""
    states, weight, bias, labels = make()
    states, bias = states.bfloat16(), bias * 0 + 10.0
    known = {"weight": weight, "bias": bias, "log_expected": torch.full((9,), 0.0)}
    sample = torch.tensor([8])
    labels = labels.clamp(max=7)
    with torch.autocast("cpu", torch.bfloat16):
        found = sampled_cross_entropy(states, labels, sample=sample, **known).total
        other = torch.addmm(bias[sample], states, weight[sample].T)[:, 0].float()
    own = (states.float() @ weight.T + bias).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(found, torch.logaddexp(own, other).sub(own).sum(), rtol=1e-4, atol=1e-5)
