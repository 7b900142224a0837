"""Binary cross-entropy against its closed form."""

import math

import torch

from modeledge.losses.binary import binary_cross_entropy


def test_only_counted_places_enter():
    logits = torch.tensor([[0.0, 2.0], [-1.0, 50.0]])
    labels = torch.tensor([[True, False], [True, False]])
    counted = torch.tensor([[True, True], [True, False]])
    wanted = math.log(2) + math.log(1 + math.exp(2)) + math.log(1 + math.exp(1))
    found = binary_cross_entropy(logits, labels, counted)
    assert abs(found.total.item() - wanted) < 1e-5 and found.count == 3


def test_places_that_are_not_counted_get_no_gradient():
    logits = torch.tensor([1.0, float("inf")], requires_grad=True)
    total = binary_cross_entropy(logits[:1].repeat(2), torch.tensor([True, True]), torch.tensor([True, False])).total
    (grad,) = torch.autograd.grad(total, logits)
    assert abs(grad[0].item() - (1 / (1 + math.exp(-1)) - 1)) < 1e-6
