import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from modeledge.core import InputError
from modeledge.recipe.resolve import resolve
from modeledge.run import plots
from modeledge.run.folder import RunFolder
from modeledge.run.report import read_run, series, write_report

NASTY = "<script>alert(1)</script> & $\\frac{1}{2}$"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder of 300 logged steps, with everything a page can show and hostile text wherever text can stand."""
    tree = resolve("roberta", size="mini", sets=["optim.lr=2e-3"])
    folder = RunFolder(tmp_path)
    folder.write_recipe(
        {**tree.keys, "source": NASTY}, {"name": "roberta", "extends": ["bert"], "stages": [{"steps": 300}]}
    )
    folder.write_environment({"parameters": 1234, "baselines": {NASTY: {"uniform": 9.0, "unigram": 6.2}}})
    for step in range(1, 301):
        loss = {NASTY: 5 + 4 * math.exp(-step / 40)}
        figures = {"lr": 1e-3, "norm": 1.0, "tokens": step * 100, "tokens_per_second": 1e4, "seconds": step / 10}
        folder.log({"step": step, "stage": 0, "loss": loss, **figures})
    folder.log({"step": 300, "stage": 0, "valid": {NASTY: 5.1}})
    folder.end()
    rows = [{"name": NASTY, "scores": [0.5, 0.6], "mean": 0.55, "low": 0.5, "high": 0.6, "note": NASTY}]
    told = {"title": NASTY, "text": NASTY, "metric": NASTY, "chance": 0.1, "rows": rows}
    (tmp_path / "comparison.json").write_text(json.dumps(told))
    samples = [{"text": f"{NASTY} [MASK].", "answer": NASTY, "guesses": [[NASTY, 0.5]]}]
    (tmp_path / "samples.json").write_text(json.dumps(samples))
    return tmp_path


class Checker(HTMLParser):
    """Collects tags, and fails on tags that are not closed in order."""

    VOID = {"meta", "br", "!doctype", "path", "use"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def parsed(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    return checker


def test_the_page_is_whole_small_and_loads_nothing(run):
    text = write_report(run).read_text()
    page = parsed(text)
    assert len(text) < 2**20
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.seen}
    for tag, attributes in page.seen:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#"), (tag, attributes)
    assert "url(http" not in text and "@import" not in text


def test_user_text_is_escaped_wherever_it_stands(run):
    text = write_report(run).read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 8


def test_the_page_shows_verdict_difference_from_the_parent_and_comparison(run):
    text = write_report(run).read_text()
    assert "below the unigram baseline (6.20)" in text and "0.500 to 0.600" in text
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    assert any("objectives.nsp" in r for r in rows), "what roberta changes in bert"
    assert any("optim.lr" in r and "0.002" in r for r in rows), "what the override changes in roberta"
    assert text.count("<svg") == 3


def test_without_matplotlib_the_curves_are_a_table_and_one_line_says_why(run, monkeypatch):
    monkeypatch.setattr(plots, "drawable", lambda: False)
    text = write_report(run).read_text()
    parsed(text)
    assert "<svg" not in text and text.count("pip install &#x27;modeledge[report]&#x27;") == 1


def test_the_same_run_gives_the_same_bytes(run):
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_a_folder_that_is_no_run_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        read_run(tmp_path)


@pytest.mark.contract
def test_stages_are_drawn_one_behind_the_other_and_summed(train, tmp_path):
    train(sets=["stages=[{loop: {steps: 3}}, {loop: {steps: 2}}]"])
    run = read_run(tmp_path / "run")
    assert len(run.stages) == 2 and series(run.records, "loss", "mlm").steps == [1, 2, 3, 4, 5]
    ends = [r for r in run.records if r["step"] in (3, 5) and "tokens" in r]
    figures = dict(re.findall(r"<div><b>([^<]*)</b><span>([^<]*)</span></div>", write_report(run.path).read_text()))
    told = {name: value for value, name in figures.items()}
    assert told["steps"] == "5" and told["tokens"] == f"{sum(r['tokens'] for r in ends) / 1e6:,.2f} M"


def test_smoothing_keeps_a_straight_line_and_the_ends():
    line = [float(i) for i in range(500)]
    assert plots.smooth(line) == pytest.approx(line)
    assert len(plots.thin(plots.Series(line, line)).steps) <= plots.POINTS
