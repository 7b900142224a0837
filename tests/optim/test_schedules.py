import math

import pytest
import torch

from modeledge.core import find, kinds


def make(kind, **settings):
    part = find("optim.schedules", kind)
    return part(part.Config(kind=kind, **settings))


STRAIGHT = [kind for kind in kinds("optim.schedules") if kind != "slanted"]
"""Those that begin at a step's share of the peak."""


@pytest.mark.parametrize("kind", STRAIGHT)
def test_every_schedule_warms_up_in_a_straight_line_to_the_peak_and_stays_within_it(kind):
    schedule = make(kind, warmup=10)
    factors = [schedule.factor(i, 100) for i in range(100)]
    assert factors[:10] == [(i + 1) / 10 for i in range(10)]
    assert factors[10] == pytest.approx(1.0, abs=0.03)
    assert all(0 <= f <= 1 for f in factors)


@pytest.mark.parametrize("kind", STRAIGHT)
def test_a_warmup_below_one_is_a_share_of_the_run(kind):
    assert make(kind, warmup=0.1).factor(9, 100) == 1.0
    assert make(kind, warmup=0.1).factor(4, 100) == 0.5


def test_linear_cosine_and_polynomial_against_torch():
    def torch_factors(build):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = build(optimizer)
        out = []
        for _ in range(50):
            out.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return out

    schedulers = torch.optim.lr_scheduler
    pairs = {
        "linear": lambda o: schedulers.LinearLR(o, 1.0, 0.0, 50),
        "cosine": lambda o: schedulers.CosineAnnealingLR(o, 50),
        "polynomial": lambda o: schedulers.PolynomialLR(o, 50, 2.0),
    }
    for kind, build in pairs.items():
        settings = {"power": 2.0} if kind == "polynomial" else {}
        ours = [make(kind, **settings).factor(i, 50) for i in range(50)]
        assert ours == pytest.approx(torch_factors(build), abs=1e-6), kind


def test_inverse_sqrt_is_the_transformer_schedule():
    # lr = d^-0.5 min(t^-0.5, t * w^-1.5), t from 1: up to the constant d^-0.5 w^-0.5 the same shape
    w = 40
    schedule = make("inverse_sqrt", warmup=w)
    for t in (1, 20, 40, 41, 160, 1000):
        assert schedule.factor(t - 1, 2000) == pytest.approx(
            min((t - 1 or 1) ** -0.5 if t > w else 9, t * w**-1.5) * w**0.5, rel=2e-2
        )


def test_the_trapezoid_is_flat_until_its_last_share():
    schedule = make("trapezoid", warmup=10, decay=0.25, final=0.1)
    assert schedule.factor(11, 110) == schedule.factor(84, 110) == 1.0
    assert schedule.factor(109, 110) < 0.15
    assert schedule.factor(97, 110) == pytest.approx(0.1 + 0.9 * 13 / 25)


def test_final_is_where_the_curve_ends():
    for kind in ("linear", "cosine", "polynomial"):
        assert make(kind, final=0.1).factor(999, 1000) == pytest.approx(0.1, abs=2e-3)
    assert math.isclose(make("constant").factor(10**6, 10), 1.0)


def test_the_slanted_triangle_is_the_papers():
    """Figures of a run of 1000 steps from the paper's formula; the fall never goes below where it ends."""
    schedule = make("slanted")
    told = {0: 0.03125, 50: 0.515625, 100: 1.0, 550: 0.515625, 1000: 0.03125}
    assert {t: schedule.factor(t, 1000) for t in told} == pytest.approx(told)
    for total in (1, 3, 19, 25):  # the paper's slope would end below zero at 19
        factors = [schedule.factor(t, total) for t in range(total)]
        assert all(1 / 32 <= f <= 1 for f in factors) and max(factors) == 1.0
