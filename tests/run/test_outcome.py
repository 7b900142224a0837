"""The page of claims says what the files say, and nothing else."""

from __future__ import annotations

import json

import pytest

from modeledge.core import InputError
from modeledge.run.claim import read_claim
from modeledge.run.outcome import Outcome, identity, page, read_outcome


@pytest.fixture
def folder(tmp_path, claim_text):
    (tmp_path / "masks.yaml").write_text(claim_text)
    (tmp_path / "results").mkdir()
    return tmp_path


def result(folder, many, *, of=None):
    found = Outcome("masks", of or identity(folder / "masks.yaml"), 3)
    for seed, (few, value) in enumerate(zip([5.0, 5.1, 5.2], many, strict=True)):
        found.add("loss", "few", seed, few)
        found.add("loss", "many", seed, value)
        for arm in ("few", "many"):
            found.spent(arm, seed, {"steps": 4, "tokens": 1000, "seconds": 30.0, "judging": 30.0})
    (folder / "results" / "masks.json").write_text(json.dumps(found.as_dict()))
    return found


def test_a_claim_that_was_not_run_says_so(folder):
    assert "| masks | More masks are better. | not run yet |" in page(folder)


@pytest.mark.parametrize(
    ("many", "verdict"),
    [([4.0, 4.1, 4.3], "supported"), ([5.5, 5.6, 5.8], "refuted"), ([4.0, 5.1, 6.0], "undecided")],
)
def test_the_verdict_follows_from_the_values(folder, many, verdict):
    result(folder, many)
    shown = page(folder)
    assert f"| [masks](#masks) | More masks are better. | {verdict} |" in shown
    assert f"## masks: {verdict}" in shown and "3 seeds; 6 minutes in all" in shown
    assert "| few | 4 | 1e+03 | 5.1 ± 0.2484 |" in shown  # 4.303 * 0.1 / sqrt(3)


def test_a_result_of_another_version_of_the_file_does_not_count(folder, claim_text):
    result(folder, [4.0, 4.1, 4.3])
    (folder / "masks.yaml").write_text(claim_text.replace("minutes: 1", "minutes: 2"))
    assert "## masks: supported" in page(folder)
    (folder / "masks.yaml").write_text(claim_text.replace("at_most: 0.0", "at_most: -1.0"))
    assert "| masks | More masks are better. | changed since it was run |" in page(folder)


def test_an_outcome_survives_its_file(folder):
    found = result(folder, [4.0, 4.1, 4.3])
    read = read_outcome(folder / "results" / "masks.json")
    assert (read.values, read.costs, read.of) == (found.values, found.costs, found.of)
    assert read.verdicts(read_claim(folder / "masks.yaml")) == ["supported"]
    (folder / "results" / "masks.json").write_text('{"name": "masks"}')
    with pytest.raises(InputError, match="not an outcome"):
        page(folder)
