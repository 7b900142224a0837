import math

import torch

from modeledge.losses.hierarchical import hierarchical


def test_a_path_costs_minus_the_log_of_the_product_of_its_turns():
    scores = torch.tensor([[0.3, -1.2, 5.0], [2.0, 0.7, -0.1]])
    turns = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0]])  # the first path has two forks
    right = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    first = right(0.3) * right(1.2)
    second = right(-2.0) * right(0.7) * right(-0.1)
    torch.testing.assert_close(hierarchical(scores, turns), -torch.tensor([first, second]).log())


def test_the_gradient_pulls_only_at_the_forks_of_the_path():
    scores = torch.zeros(1, 3, requires_grad=True)
    hierarchical(scores, torch.tensor([[1.0, -1.0, 0.0]])).sum().backward()
    assert scores.grad.tolist() == [[-0.5, 0.5, 0.0]]
