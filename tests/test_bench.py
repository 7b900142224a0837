"""The page of performance shows what was recorded, and nothing else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from modeledge.run.progress import Silent
from modeledge.run.trial import Trial

ROOT = Path(__file__).parents[1]
MARKS = ("cpu", "gpu", "time_to_loss", "ablation", "additions", "pictures")


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    spec = importlib.util.spec_from_file_location("bench_all", ROOT / "bench" / "all.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_all", module)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_performance_is_that_of_the_records(bench):
    page = (ROOT / "docs" / "performance.md").read_text()
    assert bench.paged(page) == page, "python bench/all.py --page docs/performance.md"


def test_the_newest_record_of_a_name_is_shown_with_its_verdict(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "HERE", tmp_path)
    (tmp_path / "results").mkdir()
    told = bench.line(bench.RATIO.search("RATIO a=1.20 [1.10,1.30] floor=1.5 goal=2.0 FAIL"))
    again = bench.line(bench.RATIO.search("RATIO a=2.50 [2.10,2.80] floor=1.5 goal=2.0 PASS"))
    less = bench.line(bench.RATIO.search("RATIO share=0.03 floor=0.05 goal=0.02 PASS"))
    where = {"date": "2026-01-01", "machine": "2 cores"}
    lines = [bench.json.dumps({**where, **one._asdict()}) for one in (told, again, less)]
    (tmp_path / "results" / "cpu.jsonl").write_text("\n".join(lines[:1]))
    empty = "".join(f"<!-- {mark} --><!-- /{mark} -->\n" for mark in MARKS)
    assert "| a | 1.2 [1.10,1.30] | 1.5 | 2 | **below** |" in bench.paged(empty)
    (tmp_path / "results" / "cpu.jsonl").write_text("\n".join(lines))
    found = bench.paged(bench.paged(empty))
    assert "| a | 2.5 [2.10,2.80] | 1.5 | 2 | goal |\n| share | 0.03 | 0.05 | 0.02 | floor |\n" in found
    assert found.count("Measured on 2 cores, 2026-01-01.") == 1 and "Not run yet." in found


@pytest.mark.parametrize(
    ("name", "own"), [("modern", "modern"), ("modern_more", "growing batches"), ("modern_vit", "modern_vit")]
)
def test_the_arms_of_the_ablations_resolve(name, own, tmp_path):
    trial = Trial(ROOT / "bench" / f"{name}.yaml", tmp_path, data=tmp_path, device="cpu", progress=Silent())
    trial.begin(trial.claim)
    assert trial.claim.seeds >= 3 and {e.against for e in trial.claim.expect} | {own} == set(trial.claim.arms)
