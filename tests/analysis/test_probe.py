"""Probes against scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from modeledge.analysis._collect import collect
from modeledge.analysis.probe import fit_linear, linear_probe, nearest_neighbours, standardise
from modeledge.core import Batch


def digits(n=500):
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = torch.from_numpy(data.data[order]).float(), data.target[order]
    return (x[:n], y[:n]), (x[n : 2 * n], y[n : 2 * n])


def test_logistic_regression_agrees_with_scikit_learn():
    (x, y), (x_test, _) = digits(200)
    x, x_test = standardise(x, x_test)
    l2 = 0.01
    ours = fit_linear(x.double(), torch.as_tensor(y), classes=10, l2=l2)
    theirs = LogisticRegression(C=1 / (l2 * len(x)), tol=1e-8, max_iter=5000).fit(x.numpy(), y)
    np.testing.assert_allclose(ours.weight.numpy(), theirs.coef_, atol=2e-4)
    assert (ours.predict(x_test.double()).numpy() == theirs.predict(x_test.numpy())).all()


def test_a_probe_of_digits_is_far_above_its_baselines():
    train, test = digits()
    got = linear_probe(train, test, strengths=(1e-3, 1e-1, 1e1))
    assert got["accuracy"] > 0.9 and got["majority"] < 0.15 and got["chance"] == 0.1 and got["n"] == 500
    assert got["l2"] in (1e-3, 1e-1, 1e1)


def test_the_sweep_takes_a_stiff_penalty_where_a_loose_one_overfits():
    torch.manual_seed(0)
    signal = torch.randn(60, 1)
    x, y = torch.cat([signal + 0.8 * torch.randn(60, 1), torch.randn(60, 200)], 1), (signal[:, 0] > 0).long().numpy()
    assert linear_probe((x, y), (x, y), strengths=(1e-6, 1.0))["l2"] == 1.0


def test_constant_dimensions_become_zero():
    train, test = torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.tensor([[2.0, 9.0]])
    a, b = standardise(train, test)
    assert a.tolist() == [[-1.0, 0.0], [1.0, 0.0]] and b.tolist() == [[0.0, 0.0]]


def test_neighbours_agree_with_scikit_learn():
    train, test = digits(300)
    theirs = KNeighborsClassifier(20, metric="cosine").fit(train[0].numpy(), train[1])
    wanted = (theirs.predict(test[0].numpy()) == test[1]).mean()
    assert abs(nearest_neighbours(train, test, chunk=64)["accuracy"] - wanted) <= 1 / 300  # a tie at the 20th place


def test_more_neighbours_than_rows_is_all_rows():
    x, y = torch.randn(5, 3), np.array([1, 1, 1, 0, 0])
    got = nearest_neighbours((x, y), (x, y), k=20)
    assert got["k"] == 5 and got["accuracy"] == 0.6


def test_collecting_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    rows = [Batch(x=np.ones((3, 4), np.float32) * i, label=np.arange(3) + i) for i in range(4)]
    vectors, labels = collect(model, lambda b: model(b.x), rows)
    assert vectors.shape == (12, 2) and not vectors.requires_grad and labels.tolist()[-3:] == [3, 4, 5]
    assert torch.equal(vectors[0], vectors[1])  # no dropout
    assert model.training and not model[1].training and model[2].training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
