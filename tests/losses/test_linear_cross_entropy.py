"""Head and loss in one against one after the other."""

import pytest
import torch
import torch.nn.functional as F

from modeledge.core import IGNORE
from modeledge.engine.memory import Held
from modeledge.losses import linear_cross_entropy as module
from modeledge.losses.cross_entropy import cross_entropy
from modeledge.losses.linear_cross_entropy import linear_cross_entropy


def case(m=45, v=37, d=16, ignored=5):
    g = torch.Generator().manual_seed(0)
    states, matrix, bias = (torch.randn(*s, generator=g, requires_grad=True) for s in ((m, d), (v, d), (v,)))
    labels = torch.randint(0, v, (m,), generator=g)
    labels[::ignored] = IGNORE
    return states, matrix, bias, labels


def of_parts(states, matrix, bias, labels, smoothing=0.0):
    return cross_entropy(F.linear(states, matrix, bias), labels, smoothing=smoothing)


@pytest.mark.parametrize("held", [1, 16 * 37 * 4 + 1, 1 << 28])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("biased", [True, False])
def test_loss_and_gradients_are_those_of_head_and_loss_apart(monkeypatch, held, smoothing, biased):
    monkeypatch.setattr(module, "HELD", held)  # 16 rows a chunk, or all
    monkeypatch.setattr(module, "CACHED", 1)  # 16 rows at a time
    states, matrix, bias, labels = case()
    bias = bias if biased else None
    inputs = [t for t in (states, matrix, bias) if t is not None]
    wanted = of_parts(states, matrix, bias, labels, smoothing)
    found = linear_cross_entropy(states, matrix, bias, labels, smoothing=smoothing)
    assert found.count == wanted.count == 36
    torch.testing.assert_close(found.total, wanted.total)
    for a, b in zip(*(torch.autograd.grad(3.0 * s.total, inputs) for s in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b)


def test_only_the_gradients_asked_for_are_given():
    states, matrix, bias, labels = case()
    found = linear_cross_entropy(states.detach(), matrix, bias.detach(), labels).total
    found.backward()
    assert matrix.grad is not None and states.grad is None and bias.grad is None


def test_under_autocast_gradients_are_no_further_off_than_those_of_head_and_loss_apart():
    states, matrix, bias, labels = case(m=600, v=500)
    exact = torch.autograd.grad(of_parts(states, matrix, bias, labels).total, [states, matrix, bias])
    off = {}
    for name, loss in (("one", linear_cross_entropy), ("apart", of_parts)):
        with torch.autocast("cpu", torch.bfloat16):
            made = loss(states, matrix, bias, labels).total
        assert made.dtype == torch.float32
        found = torch.autograd.grad(made, [states, matrix, bias])
        assert all(g.dtype == torch.float32 for g in found)
        off[name] = [float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]
    assert all(a < 1.2 * b + 1e-3 for a, b in zip(off["one"], off["apart"], strict=True)), off


def test_what_is_kept_for_the_backward_does_not_grow_with_rows_times_words():
    def kept(loss, m):
        states, matrix, bias, labels = case(m=m, v=2000)
        with Held(torch.nn.Module()) as held:
            made = loss(states, matrix, bias, labels).total
        assert made.requires_grad
        return held.bytes

    assert kept(of_parts, 800) - kept(of_parts, 400) > 400 * 2000 * 4
    assert kept(linear_cross_entropy, 800) - kept(linear_cross_entropy, 400) < 400 * 16 * 4 * 3


def test_nothing_is_kept_where_no_gradient_is_wanted():
    states, matrix, bias, labels = case()
    with torch.no_grad():
        made = linear_cross_entropy(states, matrix, bias, labels)
    assert not made.total.requires_grad
    torch.testing.assert_close(made.total, of_parts(states, matrix, bias, labels).total.detach())


def test_no_row_and_no_counted_row_give_zero():
    states, matrix, bias, labels = case()
    for some in (slice(0, 0), slice(0, 1)):
        found = linear_cross_entropy(states[some], matrix, bias, labels[some])
        assert found.total == 0 and found.count == 0
        (grad,) = torch.autograd.grad(found.total, [matrix])
        assert not grad.any()


def test_half_precision_is_computed_apart():
    states, matrix, bias, labels = case()
    half = [t.detach().half() for t in (states, matrix, bias)]
    found = linear_cross_entropy(*half, labels).total
    torch.testing.assert_close(found, of_parts(*half, labels).total)
