"""Toy claims put to the test from end to end."""

from __future__ import annotations

import json
import shutil

import pytest

from modeledge.core import InputError, RecipeError
from modeledge.run import trial as trying
from modeledge.run.outcome import read_outcome
from modeledge.run.trial import try_claim

pytestmark = pytest.mark.contract  # whole stories of verbs

TEXT = """
claim: Weights that know something are better than none.
source: a toy
minutes: 1
tables:
  pairs: [{{file: text.jsonl, columns: {{a: "{{text}}", b: "{{text}}"}}, rows: 20}}]
data:
  text: {{files: [text.jsonl], held: 0.1}}
  pairs: {{files: [pairs], kind: parallel, columns: {{text: a, second: b}}, tokenizer: text, held: 0.3}}
sets: {sets}
budget: 3steps
seeds: 2
arms:
  start: {{recipe: bert}}
  again: {{recipe: bert, tuning: {{lr: 0.01}}}}
  on: {{recipe: own.yaml, after: start, budget: 2steps}}
measures:
  loss: {{kind: held_out, figure: mlm, batches: 1}}
  found: {{kind: translations, file: pairs, first: a, second: b, rows: 10}}
expect:
  - {{measure: loss, arm: again, against: start, at_most: 0.0}}
  - {{measure: loss, arm: "on", against: start, at_most: -50}}
"""


@pytest.fixture
def claim(toy, tmp_path, corpus):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "text.jsonl").write_bytes(corpus.read_bytes())
    (tmp_path / "own.yaml").write_text("extends: bert\noptim: {lr: 1e-2}\n")
    sets = json.dumps([*toy, "tokenizer.vocab=200", "schedule=constant"])
    (tmp_path / "toy.yaml").write_text(TEXT.format(sets=sets))
    return tmp_path / "toy.yaml"


def run(claim, **options):
    home = claim.parent
    return try_claim(claim, **{"out": home / "out", "data": [str(home / "data")], "quiet": True, **options})


@pytest.mark.contract
def test_a_claim_is_tried_from_data_to_verdict_and_gone_on_with(claim, monkeypatch):
    found = run(claim)
    assert found.values["loss"]["again"] == found.values["loss"]["start"]  # trained alike: one run for both
    home = claim.parent / "out"
    assert len(list((home / "runs").iterdir())) == 4 and len(list((home / "stores").iterdir())) == 2
    assert found.costs["on"][1]["steps"] == 2 and found.costs["start"][0]["steps"] == 3
    assert found.values["found"]["start"] == {0: 1.0, 1: 1.0}
    read = read_outcome(home / "outcome.json")
    assert read.values == found.values
    shown = (home / "outcome.md").read_text()
    assert shown.startswith("## toy: refuted") and "**supported**" in shown and "**refuted**" in shown
    cells = (home / "cells.jsonl").read_text().splitlines()
    (home / "cells.jsonl").write_text("\n".join(cells[:-3]) + "\n")
    monkeypatch.setattr(trying, "run_job", lambda job: pytest.fail("trained again"))
    known = run(claim)
    assert known.values == found.values
    assert len((home / "cells.jsonl").read_text().splitlines()) == len(cells)
    shutil.rmtree(home / "runs")  # the lines alone are enough
    again = run(claim)
    assert (again.values, again.costs) == (known.values, known.costs)


@pytest.mark.contract
def test_weights_of_another_arm_are_what_an_arm_begins_with(claim, monkeypatch):
    begun = []
    job = trying.run_job
    monkeypatch.setattr(trying, "run_job", lambda j: begun.append(j.init is not None) or job(j))
    run(claim, seeds=1)
    assert begun == [False, True]


@pytest.mark.contract
def test_brief_and_budget_replace_what_the_file_says(claim):
    found = run(claim, brief=True)
    assert [c["steps"] for arm in found.costs.values() for c in arm.values()] == [2, 2, 2]
    assert "undecided" in str(found).splitlines()[0]
    longer = run(claim, seeds=1, budget="4steps")
    assert longer.costs["start"][0]["steps"] == 4 and longer.costs["on"][0]["steps"] == 2


def test_what_is_wrong_is_said_before_anything_is_made(claim):
    text = claim.read_text()
    claim.write_text(text.replace("again: {recipe: bert", "again: {sets: [tokenizer.vocab=300], recipe: bert"))
    with pytest.raises(RecipeError, match="different tokenizers"):
        run(claim)
    claim.write_text(text.replace("  text: {files", "  other: {files").replace("tokenizer: text", "tokenizer: other"))
    with pytest.raises(RecipeError, match=r"arms\.start reads 'text'"):
        run(claim)
    claim.write_text(text.replace("files: [text.jsonl]", "files: [nothing.jsonl]"))
    with pytest.raises(InputError, match=r"nothing\.jsonl: no such file"):
        run(claim)
    assert not (claim.parent / "out" / "runs").exists()
