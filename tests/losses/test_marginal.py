"""Marginals against plain loops over passages, in probabilities."""

import math

import pytest
import torch
from torch import nn

from modeledge.core import IGNORE
from modeledge.losses.marginal import beliefs, log_likelihood, marginal_nll, mixed

COUNTED = torch.tensor([[True, True, True], [True, False, False], [False, True, True], [False, False, False]])


def case(seed=0):
    """log p(k) and log p(target | k) of 4 rows, 3 targets and 5 passages, in double precision."""
    torch.manual_seed(seed)
    prior = torch.randn(4, 5, dtype=torch.float64).log_softmax(-1).requires_grad_()
    return prior, torch.rand(4, 3, 5, dtype=torch.float64).log().requires_grad_()


def loop(prior, likelihood, per):
    """Minus the log of the marginals, added up."""
    p, q, total = prior.exp(), likelihood.exp(), 0.0
    for row in range(4):
        targets = [i for i in range(3) if COUNTED[row, i]]
        if per == "token":
            total -= sum(math.log(sum(p[row, k] * q[row, i, k] for k in range(5))) for i in targets)
        elif targets:
            total -= math.log(sum(p[row, k] * math.prod(q[row, i, k] for i in targets) for k in range(5)))
    return float(total)


@pytest.mark.parametrize("per", ["token", "sequence"])
def test_it_is_the_sum_over_passages_of_a_plain_loop(per):
    prior, likelihood = case()
    found = marginal_nll(prior, likelihood, COUNTED, per=per)
    assert found.total.item() == pytest.approx(loop(prior.detach(), likelihood.detach(), per), rel=1e-5)
    assert found.count == 6


def test_for_one_target_or_one_passage_tokens_and_sequences_are_the_same():
    prior, likelihood = case()
    both = [marginal_nll(prior, likelihood[:, :1], COUNTED[:, :1], per=per).total for per in ("token", "sequence")]
    assert torch.allclose(*both)
    alone = torch.zeros(4, 1)
    both = [marginal_nll(alone, likelihood[..., :1], COUNTED, per=per).total for per in ("token", "sequence")]
    assert torch.allclose(*both) and torch.allclose(both[0], -(likelihood[..., 0] * COUNTED).sum().float())


def test_the_gradient_of_a_score_says_how_much_better_the_passage_was_than_all_together():
    torch.manual_seed(0)
    scores = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    likelihood = torch.rand(4, 1, 5, dtype=torch.float64).log()
    marginal_nll(scores.log_softmax(-1), likelihood, torch.ones(4, 1, dtype=torch.bool), per="token").total.backward()
    p, q = scores.detach().softmax(-1), likelihood[:, 0].exp()
    whole = (p * q).sum(-1, keepdim=True)
    torch.testing.assert_close(-scores.grad, p * (q / whole - 1), atol=1e-6, rtol=1e-5)


def test_a_sequence_is_a_row_of_tokens_whose_passages_are_judged_by_what_was_said_before():
    prior, likelihood = (x.detach() for x in case())
    weights = beliefs(prior, likelihood, COUNTED).exp()
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 3))
    p = prior[0].exp() * likelihood[0, :2].exp().prod(0)
    torch.testing.assert_close(weights[0, 2], (p / p.sum()).float())
    steps = mixed(prior, likelihood, COUNTED, per="sequence")
    torch.testing.assert_close((weights * likelihood.exp()).sum(-1).log().float(), steps)


def test_very_unlikely_targets_neither_overflow_nor_vanish():
    prior = torch.tensor([[0.0, -3e4]]).log_softmax(-1)
    likelihood = torch.full((1, 4, 2), -2e4)
    for per in ("token", "sequence"):
        assert marginal_nll(prior, likelihood, torch.ones(1, 4, dtype=torch.bool), per=per).total == 8e4


def test_likelihoods_come_in_chunks_with_the_same_gradient():
    torch.manual_seed(0)
    head, states = nn.Linear(8, 11), torch.randn(10, 8, requires_grad=True)
    labels = torch.tensor([3, IGNORE, 0, 10, 5, 5, IGNORE, 1, 2, 9])
    found = log_likelihood(states, labels, head, chunk=3)
    scores = head(states).log_softmax(-1)
    wanted = torch.stack([s[y] if y >= 0 else s.sum() * 0 for s, y in zip(scores, labels, strict=True)])
    torch.testing.assert_close(found, wanted)
    one, two = (torch.autograd.grad(x.sum(), states, retain_graph=True)[0] for x in (found, wanted))
    torch.testing.assert_close(one, two)
