"""Claims as files: what is refused, and verdicts against intervals from scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from modeledge.core import RecipeError
from modeledge.run.claim import Expectation, is_claim, overall, read_claim
from modeledge.run.outcome import claims_in
from modeledge.run.progress import Silent
from modeledge.run.trial import Trial

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def expectation(**keys):
    return Expectation.model_validate({"measure": "m", "arm": "a", "against": "b", **keys})


def values(a, b):
    return {"m": {"a": dict(enumerate(a)), "b": dict(enumerate(b))}}


def test_the_interval_is_that_of_a_paired_t_test():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 0.1, 5), rng.normal(0.8, 0.3, 5)
    found = expectation(at_least=0).found(values(a, b))
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high), rel=1e-5)


@pytest.mark.parametrize(
    ("bound", "verdict"), [(0.5, "supported"), (0.85, "undecided"), (1.5, "refuted"), (-2.0, "supported")]
)
def test_a_verdict_needs_the_whole_interval_on_one_side_of_the_bound(bound, verdict):
    known = values([1.0, 1.1, 0.9], [0.1, 0.2, 0.2])  # differences 0.9, 0.9, 0.7: 0.83 +- 0.29
    at_least, at_most = expectation(at_least=bound), expectation(at_most=-bound)
    assert at_least.verdict(at_least.found(known)) == verdict
    turned = {"m": {"a": known["m"]["b"], "b": known["m"]["a"]}}
    assert at_most.verdict(at_most.found(turned)) == verdict


def test_one_seed_decides_nothing_and_equal_values_decide():
    e = expectation(at_least=0)
    assert e.verdict(e.found(values([1.0], [0.0]))) == "undecided"
    ratio = expectation(by="ratio", at_most=0.15)
    assert ratio.verdict(ratio.found(values([12.0, 12.0], [89.0, 89.0]))) == "supported"
    assert ratio.found(values([12.0, 12.0], [89.0, 89.0])).mean == pytest.approx(12 / 89)


def test_several_measures_are_averaged_by_seed_and_only_common_seeds_count():
    e = expectation(measure=["m", "n"], at_least=0)
    known = {
        "m": {"a": {0: 1.0, 1: 2.0}, "b": {0: 0.0, 1: 0.0, 2: 9.0}},
        "n": {"a": {0: 3.0, 1: 4.0}, "b": {0: 1, 1: 1}},
    }
    assert e.found(known).mean == pytest.approx(((1 + 3) / 2 - 0.5 + (2 + 4) / 2 - 0.5) / 2)
    assert e.found(known).n == 2


def test_a_claim_is_refuted_by_any_part_and_supported_by_all():
    assert overall(["supported", "refuted", "undecided"]) == "refuted"
    assert overall(["supported", "undecided"]) == "undecided"
    assert overall(["supported", "supported"]) == "supported"


def test_a_claim_is_told_from_a_recipe(tmp_path, claim_text):
    (tmp_path / "c.yaml").write_text(claim_text)
    (tmp_path / "r.yaml").write_text("extends: bert\n")
    assert is_claim(str(tmp_path / "c.yaml"))
    assert not is_claim(str(tmp_path / "r.yaml")) and not is_claim("bert")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("against: few", "against: fow", r"c.yaml: .*expect\[0\].*fow.*did you mean 'few'"),
        ("measure: loss", "measure: los", r"expect\[0\]\.measure.*los.*did you mean 'loss'"),
        ("at_most: 0.0}", "at_most: 0.0, at_least: 1}", r"c.yaml:13.*one of the two"),
        ("minutes: 1", "minuets: 1", r"c.yaml:4:1: minuets"),
        ("budget: 4steps", "budget: 4stops", "4stops"),
        ("kind: held_out", "kind: held_in", r"c.yaml:11"),
        ("few: {", "few: {after: many, ", None),
        ("many: {", "many: {after: many, ", "circle"),
        ("many: {", "many: {tuning: {epoch: 1}, ", "did you mean 'epochs'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(tmp_path, claim_text, old, new, message):
    file = tmp_path / "c.yaml"
    file.write_text(claim_text.replace(old, new))
    if message is None:
        assert read_claim(file).line("few") == ("few", "many")
        return
    with pytest.raises(RecipeError, match=message):
        read_claim(file)


@pytest.mark.parametrize("path", claims_in(EXPERIMENTS), ids=lambda p: p.stem)
def test_the_arms_of_every_experiment_resolve(path, tmp_path):
    trial = Trial(path, tmp_path, data=tmp_path, device="cpu", progress=Silent())
    trial.begin(trial.claim)
    assert trial.claim.minutes <= 30 and trial.claim.seeds >= 3
    trial.begin(trial.claim.brief())
    assert trial.claim.seeds == 1
