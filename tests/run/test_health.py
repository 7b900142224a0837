import math

import numpy as np
import pytest

from modeledge.run.health import judge


def curve(values, *, held=(), name="mlm"):
    records = [{"step": i + 1, "stage": 0, "loss": {name: v}} for i, v in enumerate(values)]
    return records + [{"step": len(values), "stage": 0, "valid": {name: v}} for v in held]


BASE = {"mlm": {"uniform": 9.0, "unigram": 6.2}}
FALLING = [5.0 + 4 * math.exp(-i / 40) for i in range(400)]


@pytest.mark.parametrize(
    ("values", "held", "state"),
    [
        (FALLING, [5.1], "learnt"),
        ([v + 1.5 for v in FALLING], [6.5], "frequencies"),
        ([9.1] * 400, [9.05], "nothing"),
        (FALLING + [7.5] * 40, [7.5], "diverged"),
        (FALLING[:-1] + [math.nan], [], "diverged"),
        ([v - 2 for v in FALLING], [5.0, 4.8, 5.6], "memorises"),
        (FALLING, [], "learnt"),
    ],
)
def test_a_curve_is_judged_by_its_baselines(values, held, state):
    (verdict,) = judge(curve(values, held=held), BASE)
    assert verdict.state == state, verdict
    assert bool(verdict.advice) == (state != "learnt")


def test_a_short_run_whose_last_batch_is_hard_has_not_diverged():
    rng = np.random.default_rng(0)
    losses = [*(8.2 - 0.04 * np.arange(30) + rng.uniform(-0.35, 0.35, 30)), 7.9]  # 7.0 at the end but for its rows
    records = [{"step": i, "loss": {"mlm": float(x)}} for i, x in enumerate(losses)]
    assert judge(records, {})[0].state == "unknown"
    assert judge([*records, *({"step": 31 + i, "loss": {"mlm": 8.0}} for i in range(5))], {})[0].state == "diverged"


def test_one_lucky_batch_is_not_a_divergence():
    values = [*FALLING[:200], 2.0, *FALLING[200:]]
    assert judge(curve(values, held=[5.1]), BASE)[0].state == "learnt"


def test_without_a_baseline_nothing_is_claimed():
    assert judge(curve([2.0, 1.0]), {})[0].state == "unknown"


def test_only_the_last_stage_is_judged():
    first = [{"step": i, "stage": 0, "loss": {"clm": 3.0}} for i in range(10)]
    second = [{"step": i, "stage": 1, "loss": {"mlm": v}} for i, v in enumerate(FALLING)]
    assert [v.name for v in judge(first + second, BASE)] == ["mlm"]
