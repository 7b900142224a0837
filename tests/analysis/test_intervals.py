"""Student's t against scipy, and what an interval promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from modeledge.analysis.intervals import difference, interval, quantile


@pytest.mark.parametrize("degrees", [1, 2, 4, 9, 30, 200])
def test_quantile_equals_scipy(degrees):
    assert quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-5)


def test_interval_equals_scipy():
    x = [0.81, 0.84, 0.79, 0.86, 0.83]
    low, high = stats.t.interval(0.95, 4, np.mean(x), stats.sem(x))
    found = interval(x)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high), rel=1e-5)


def test_interval_covers_the_mean_in_95_of_100_samples():
    rng = np.random.default_rng(0)
    hits = sum(abs(i.mean) <= i.half for i in (interval(row) for row in rng.normal(size=(1500, 4))))
    assert abs(hits / 1500 - 0.95) < 3 * (0.95 * 0.05 / 1500) ** 0.5


def test_a_single_run_has_no_interval():
    found = interval([0.5])
    assert np.isnan(found.half) and not found.sure and found.as_dict()["half"] is None


def test_paired_differences_use_the_seeds_both_arms_have():
    left, right = {0: 0.5, 1: 0.6, 2: 0.7}, {1: 0.61, 2: 0.72, 3: 0.1}
    found = difference(left, right)
    assert found.n == 2 and found.mean == pytest.approx(0.015)


def test_pairing_sees_a_small_difference_that_two_separate_intervals_do_not():
    noise = np.random.default_rng(1).normal(scale=0.1, size=8)
    left, right = dict(enumerate(0.5 + noise)), dict(enumerate(0.52 + noise))
    assert difference(left, right).sure
    assert interval(list(left.values())).half > 0.02
