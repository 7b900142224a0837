"""Negative sampling against its closed forms."""

import numpy as np
import pytest
import torch

from modeledge.losses.negative_sampling import negative_sampling


def test_the_gradient_is_sigmoid_minus_truth_times_the_other_vector():
    torch.manual_seed(0)
    word = torch.randn(8, requires_grad=True)
    outputs = torch.randn(4, 8, requires_grad=True)  # the first is the true context, the rest are noise
    scores = outputs @ word
    found = negative_sampling(scores[:1], torch.ones(1), scores[1:], torch.ones(3))
    found.total.backward()
    error = torch.sigmoid(outputs @ word) - torch.tensor([1.0, 0, 0, 0])
    torch.testing.assert_close(word.grad, (error[:, None] * outputs).sum(0))
    torch.testing.assert_close(outputs.grad, error[:, None] * word)
    assert found.count == 1


@pytest.mark.contract
def test_with_exact_expectations_the_optimum_is_pmi_minus_log_k():
    # Levy and Goldberg, "Neural word embedding as implicit matrix factorization" (2014): dimension >= vocabulary
    rng = np.random.default_rng(0)
    v, k = 12, 3
    joint = rng.random((v, v)) + 0.05
    joint /= joint.sum()
    expected = np.log(joint / np.outer(joint.sum(1), joint.sum(0))) - np.log(k)
    p = torch.from_numpy(joint).float() * 100  # any factor: the optimum is the same
    noise = k * p.sum(1, keepdim=True) * p.sum(0, keepdim=True) / 100
    torch.manual_seed(0)
    words, contexts = (torch.randn(v, v).div_(4).requires_grad_() for _ in range(2))
    optimizer = torch.optim.LBFGS([words, contexts], lr=1, max_iter=1500, tolerance_grad=1e-7, tolerance_change=0)

    def closure():
        optimizer.zero_grad()
        scores = words @ contexts.T
        loss = negative_sampling(scores, p, scores, noise).total
        loss.backward()
        return loss

    optimizer.step(closure)
    deviation = np.abs((words @ contexts.T).detach().numpy() - expected).max()
    assert deviation < 1e-4, deviation
