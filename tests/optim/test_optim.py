import copy

import pytest
import torch
from torch import nn

from modeledge.core import find, kinds

OPTIMIZERS = [k for k in kinds("optim") if k not in ("sparse_adam",)]


def make(kind, model, **settings):
    part = find("optim", kind)
    return part(part.Config(kind=kind, **settings)).make(model.named_parameters())


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_lowers_a_quadratic_and_is_repeatable(kind):
    def run():
        torch.manual_seed(0)
        model, x = nn.Linear(8, 4), torch.randn(32, 8)
        y, optimizer = torch.randn(32, 4), make(kind, model, lr=0.02)
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            loss = ((model(x) - y) ** 2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    first = run()
    assert first[-1] < 0.9 * first[0]
    assert first == run()


def test_biases_and_norms_are_not_decayed_and_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    model[2].weight.requires_grad_(False)
    groups = make("adamw", model, weight_decay=0.1).param_groups
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
    assert [len(g["params"]) for g in groups] == [1, 4]  # the first weight | two biases, gain and bias of the norm


def test_lamb_is_the_papers_formula():
    torch.manual_seed(1)
    w = nn.Parameter(torch.randn(5, 3))
    ours = nn.ParameterDict({"w": nn.Parameter(w.detach().clone())})
    optimizer = make("lamb", ours, lr=0.1, weight_decay=0.01)
    m, v, x = torch.zeros(5, 3), torch.zeros(5, 3), w.detach().clone()
    for t in range(1, 6):
        g = torch.randn(5, 3)
        ours["w"].grad = g.clone()
        optimizer.step()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        r = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-6) + 0.01 * x
        x = x - 0.1 * (x.norm() / r.norm()).clamp(max=10) * r
    assert torch.allclose(ours["w"], x, atol=1e-6)


def test_lamb_counts_the_steps_of_each_parameter_by_itself():
    """A layer that joins later (unfreeze) moves as it would alone."""
    both = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False))
    late = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False))
    late[0].weight.data = both[1].weight.data.clone()
    optimizer, alone = (make("lamb", m, lr=0.1, weight_decay=0.5) for m in (both, late))
    for step in range(4):
        grad = torch.randn(3, 3)
        both[0].weight.grad = torch.randn(3, 3)
        if step > 1:
            both[1].weight.grad = late[0].weight.grad = grad
            alone.step()
        optimizer.step()
    torch.testing.assert_close(both[1].weight, late[0].weight)


def test_lamb_continues_from_saved_moments():
    torch.manual_seed(2)
    model = nn.Linear(4, 4)
    one, grads = make("lamb", model), [torch.randn(4, 4) for _ in range(4)]
    for g in grads[:2]:
        model.weight.grad = g
        one.step()
    twin = copy.deepcopy(model)
    two = make("lamb", twin)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for g in grads[2:]:
        model.weight.grad, twin.weight.grad = g.clone(), g.clone()
        one.step()
        two.step()
    assert torch.equal(model.weight, twin.weight)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_layer_moves_at_a_share_of_the_rate_of_the_layer_above_it(kind):
    """With three equal layers, each sees the rate the closed form gives it, and a parameter is in one group."""
    part, model = find("optim", kind), nn.ModuleDict({n: nn.Linear(4, 4) for n in "abc"})
    above = {f"{name}.{x}": 2 - i for i, name in enumerate("abc") for x in ("weight", "bias")}
    optimizer = part(part.Config(kind=kind, lr=0.1, layer_decay=0.4), above).make(model.named_parameters())
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert len(rates) == sum(len(g["params"]) for g in optimizer.param_groups) == 6
    for name, p in model.named_parameters():
        assert rates[id(p)] == pytest.approx(0.1 * 0.4 ** above[name])
