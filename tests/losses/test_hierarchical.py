import math

import torch

from modeledge.losses.hierarchical import hierarchical


def test_a_path_costs_minus_the_log_of_the_product_of_its_turns():
    scores = torch.tensor([[0.3, -1.2, 5.0], [2.0, 0.7, -0.1]])
    turns = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0]])  # the first path has two forks
    right = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    first = right(0.3) * right(1.2)
    second = right(-2.0) * right(0.7) * right(-0.1)
    found = hierarchical(scores, turns, torch.tensor([[1.0], [3.0]]))
    assert math.isclose(found.item(), -math.log(first) - 3 * math.log(second), rel_tol=1e-6)


def test_the_gradient_pulls_only_at_the_forks_of_the_path():
    scores = torch.zeros(1, 3, requires_grad=True)
    hierarchical(scores, torch.tensor([[1.0, -1.0, 0.0]]), torch.ones(1, 1)).backward()
    assert scores.grad.tolist() == [[-0.5, 0.5, 0.0]]
