"""Our figures against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from modeledge.analysis.scores import classification, ranks, regression


@pytest.mark.parametrize("classes", [2, 5])
def test_classification_equals_scikit_learn(classes):
    rng = np.random.default_rng(classes)
    gold = rng.integers(0, classes, 300)
    said = np.where(rng.random(300) < 0.6, gold, rng.integers(0, classes, 300))
    found = classification(said, gold, classes=classes + 3)  # classes that never occur change nothing
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(gold, said))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(gold, said, average="macro"))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(gold, said))


def test_matthews_correlation_with_a_constant_answer_is_zero():
    assert classification(np.zeros(6, int), np.array([0, 1, 0, 1, 1, 0]), classes=2)["mcc"] == 0


def test_correlations_equal_scipy_also_with_ties():
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 6, 200) / 1.0
    said = gold + rng.normal(size=200)
    found = regression(said, gold)
    assert found["pearson"] == pytest.approx(stats.pearsonr(said, gold)[0])
    assert found["spearman"] == pytest.approx(stats.spearmanr(said, gold)[0])
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(gold, said))


def test_correlation_with_a_constant_is_zero():
    assert regression(np.full(5, 0.3), np.arange(5.0))["pearson"] == 0


def test_equal_values_share_a_rank():
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]
