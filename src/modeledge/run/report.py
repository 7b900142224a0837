"""A run as one self-contained page: what was learnt, the curves, the comparison, the recipe and its differences.

Reads the run folder only (docs/run-folder.md), so it can be written again at any time. Everything that came from a user
is escaped; the page loads nothing and runs nothing. The pictures are in plots.py, the verdict in health.py."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import yaml

from modeledge.core import InputError, RecipeError
from modeledge.recipe.compare import brief, diff
from modeledge.recipe.resolve import Tree, resolve, shipped
from modeledge.run import plots
from modeledge.run.folder import RunFolder, read_metrics
from modeledge.run.health import Verdict, judge

STYLE = """
:root { color-scheme: light }
body { font: 16px/1.55 system-ui, sans-serif; color: #24292f; background: #fff; max-width: 60rem; margin: 2.5rem auto;
  padding: 0 1.25rem }
h1 { font-size: 1.7rem; margin: 0 0 .2rem } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem }
p { margin: .4rem 0; max-width: 46rem } .quiet { color: #636c76 } code, pre { font: .86em/1.5 ui-monospace, monospace }
pre { background: #f6f8fa; padding: .8rem 1rem; overflow-x: auto; border-radius: 6px }
table { border-collapse: collapse; font-size: .92rem } th { text-align: left; font-weight: 600 }
td, th { padding: .28rem 1.4rem .28rem 0; border-bottom: 1px solid #eaeef2; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.verdict { border-left: 4px solid #8c959f; background: #f6f8fa; padding: .55rem 1rem; margin: .8rem 0 }
.learnt { border-color: #2da44e } .diverged, .nothing { border-color: #cf222e }
.memorises, .frequencies { border-color: #d4a72c }
.figures { display: flex; flex-wrap: wrap; gap: .4rem 2.4rem; margin: 1.2rem 0 }
.figures b { display: block; font-size: 1.25rem; font-weight: 600 } .figures span { color: #636c76; font-size: .85rem }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: .6rem 1.2rem }
svg { width: 100%; height: auto } summary { cursor: pointer } mark { background: #ddf4ff; padding: 0 .2em }
"""


@dataclass
class Run:
    """What a run folder says about itself."""

    path: Path
    name: str
    parents: list[str]
    keys: dict[str, Any]
    stages: list[dict[str, Any]]
    records: list[dict[str, Any]]
    environment: dict[str, Any]
    extras: dict[str, Any] = field(default_factory=dict)


def read_run(path: Path) -> Run:
    """Read a run folder. Raises InputError if it is not one, or nothing was logged yet."""
    if not (path / "recipe.yaml").is_file():
        raise InputError(f"{path}: not a run folder (no recipe.yaml)\n  next: give the --out of a `modeledge pretrain`")
    if not (path / "metrics.jsonl").is_file():
        raise InputError(f"{path}: nothing was logged yet\n  next: modeledge pretrain ... --out {path} --resume")
    keys, decided = RunFolder(path).read_recipe()
    extras = {name: _json(path / f"{name}.json") for name in ("comparison", "samples")}
    return Run(
        path,
        str(decided.get("name", path.name)),
        list(decided.get("extends", [])),
        keys,
        list(decided.get("stages", [])),
        read_metrics(path),
        _json(path / "environment.json") or {},
        {name: value for name, value in extras.items() if value},
    )


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{file}: not valid JSON: {error}") from None


def write_report(path: str | Path) -> Path:
    """Write report.html into a run folder and return its path.

    Raises InputError if the folder is not a run or cannot be written."""
    run = read_run(Path(path))
    target = run.path / "report.html"
    try:
        target.write_text(page(run), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
    return target


def page(run: Run) -> str:
    """The whole page."""
    verdicts = judge(run.records, run.environment.get("baselines", {}))
    parts = [
        f"<h1>{escape(run.name)}</h1>",
        f'<p class="quiet">{escape(_subtitle(run))}</p>',
        *(_verdict(v, len(verdicts) > 1) for v in verdicts),
        _figures(run),
        _curves(run),
        _comparison(run.extras.get("comparison")),
        _samples(run.extras.get("samples")),
        _recipe(run),
        _machine(run),
    ]
    body = "\n".join(p for p in parts if p)
    head = f'<meta charset="utf-8"><title>{escape(run.name)}</title><meta name="viewport" content="width=device-width">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """An HTML table; every cell is escaped, numbers stand on the right."""
    rows = [list(row) for row in rows]
    number = [bool(rows) and all(isinstance(r[i], int | float) for r in rows) for i in range(len(head))]
    kind = [' class="n"' if n else "" for n in number]
    top = "".join(f"<th{kind[i]}>{escape(word)}</th>" for i, word in enumerate(head))
    lines = ["".join(f"<td{kind[i]}>{escape(_shown(c))}</td>" for i, c in enumerate(row)) for row in rows]
    return f"<table><tr>{top}</tr>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _subtitle(run: Run) -> str:
    told = [str(run.keys["source"])] if run.keys.get("source") else []
    told += [f"{run.environment['parameters']:,} parameters"] if "parameters" in run.environment else []
    told += [f"begun {run.environment['started'][:16].replace('T', ' ')}"] if "started" in run.environment else []
    return " · ".join(told)


def _verdict(verdict: Verdict, several: bool) -> str:
    name = f"<b>{escape(verdict.name)}</b> " if several else ""
    advice = f'<br><span class="quiet">next: {escape(verdict.advice)}</span>' if verdict.advice else ""
    return f'<div class="verdict {verdict.state}">{name}{escape(verdict.text)}{advice}</div>'


def _figures(run: Run) -> str:
    steps = [r for r in run.records if "tokens" in r]
    if not steps:
        return ""
    ends = {r.get("stage", 0): r for r in steps}.values()  # each stage counts its own tokens and seconds
    tokens, seconds = (sum(r.get(key, 0) for r in ends) for key in ("tokens", "seconds"))
    shown = {"steps": f"{steps[-1]['step']:,}", "tokens": f"{tokens / 1e6:,.2f} M"}
    if seconds:
        shown |= {"training": _clock(seconds), "tokens/s": f"{tokens / seconds:,.0f}"}
    valid = next((r["valid"] for r in reversed(run.records) if "valid" in r), {})
    shown |= {f"held-out {name}": f"{value:.3f}" for name, value in list(valid.items())[:4]}
    cells = "".join(f"<div><b>{escape(v)}</b><span>{escape(k)}</span></div>" for k, v in shown.items())
    return f'<div class="figures">{cells}</div>'


def series(records: list[dict[str, Any]], *path: str) -> plots.Series:
    """The values at a path of keys over steps, which are counted over all stages."""
    steps, values = [], []
    for record in records:
        found: Any = record
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, int | float):
            steps.append(record["step"])
            values.append(float(found))
    return plots.Series(steps, values)


def _curves(run: Run) -> str:
    names = list(dict.fromkeys(name for r in run.records for name in r.get("loss", {})))
    rate = series(run.records, "tokens_per_second")
    if not plots.drawable():
        rows = [r for r in run.records if "loss" in r]
        some = rows[:: max(1, len(rows) // 12)]
        cells = [[r["step"], *(r["loss"].get(n, "") for n in names), r.get("tokens_per_second", "")] for r in some]
        note = "matplotlib is not installed, so the curves are a table: pip install 'modeledge[report]'"
        return f"<h2>Loss</h2><p>{escape(note)}</p>" + table(["step", *names, "tokens/s"], cells)
    baselines = run.environment.get("baselines", {})
    drawn = [
        plots.draw_loss(n, series(run.records, "loss", n), series(run.records, "valid", n), baselines.get(n, {}))
        for n in names
    ]
    drawn += [plots.draw_throughput(rate)] if rate.steps else []
    lines = "Dashed: what predicting every target alike (uniform) or by its frequency alone (unigram) would cost."
    note = f'<p class="quiet">{lines}</p>' if any(baselines.get(n) for n in names) else ""
    return f'<h2>Loss</h2>{note}<div class="plots">' + "".join(f"<div>{d}</div>" for d in drawn) + "</div>"


def _comparison(told: dict[str, Any] | None) -> str:
    if not told:
        return ""
    rows = [[r["name"], r["mean"], f"{r['low']:.3f} to {r['high']:.3f}", len(r["scores"]), r.get("note", "")]
            for r in told["rows"]]  # fmt: skip
    picture = plots.draw_comparison(told["metric"], told["rows"], told.get("chance")) if plots.drawable() else ""
    head = ["", told["metric"], "95 % interval of the mean", "seeds", ""]
    text = f"<p>{escape(told.get('text', ''))}</p>"
    return f"<h2>{escape(told['title'])}</h2>{text}{picture}{table(head, rows)}"


def _samples(told: list[dict[str, Any]] | None) -> str:
    if not told:
        return ""
    rows = []
    for sample in told:
        before, _, after = sample["text"].partition("[MASK]")
        guesses = ", ".join(f"{escape(str(word))} {share:.0%}" for word, share in sample["guesses"])
        rows.append(f"<tr><td>{escape(before)}<mark>{escape(str(sample['answer']))}</mark>{escape(after)}</td>"
                    f"<td>{guesses}</td></tr>")  # fmt: skip
    top = "<tr><th>the marked word was hidden</th><th>what the model put there</th></tr>"
    return f"<h2>Filled masks</h2><table>{top}{''.join(rows)}</table>"


def _changes(left: str, right: Tree, *, title: str) -> str:
    """A titled table of what the right recipe does differently from the shipped recipe `left`."""
    try:
        rows = diff(resolve(left), right)
    except RecipeError:  # the run is older or newer than the recipe
        return ""
    body = table(["key", left, right.name], [[p, brief(a), brief(b)] for p, a, b in rows]) if rows else "<p>nothing</p>"
    return f"<p>{escape(title)}</p>{body}"


def _recipe(run: Run) -> str:
    parts = ["<h2>Recipe</h2>"]
    known, here = shipped(), Tree("this run", run.keys)
    parent = run.parents[0] if run.parents and run.parents[0] in known else None
    if run.name in known:
        if parent:
            parts.append(_changes(parent, resolve(run.name), title=f"What {run.name} changes in {parent}:"))
        parts.append(_changes(run.name, here, title=f"What this run's size and overrides change in {run.name}:"))
    elif parent:
        parts.append(_changes(parent, here, title=f"What this run changes in {parent}:"))
    keys = {k: v for k, v in run.keys.items() if k != "sizes"}
    text = yaml.safe_dump(keys, sort_keys=False, allow_unicode=True, width=100)
    parts.append(f"<details><summary>the whole recipe, resolved</summary><pre>{escape(text)}</pre></details>")
    for number, stage in enumerate(run.stages):
        title = "Decided before the first step" + (f", stage {number}" if len(run.stages) > 1 else "")
        parts.append(f"<h2>{title}</h2>" + table(["", ""], [[k, _shown(v)] for k, v in stage.items()]))
    return "\n".join(parts)


def _machine(run: Run) -> str:
    told = {k: v for k, v in run.environment.items() if k not in ("versions", "baselines", "decided", "command")}
    told |= {k: v for k, v in run.environment.get("versions", {}).items() if v}
    told["command"] = " ".join(map(str, run.environment.get("command", [])))
    rows = table(["", ""], [[k, _shown(v)] for k, v in told.items()])
    return f"<h2>Machine</h2>{rows}"
