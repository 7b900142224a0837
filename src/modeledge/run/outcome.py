"""What came out of a claim's trial, and the page that tells of all claims: verdicts are computed, never written.

Not here: the rules of the verdicts (claim.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeledge.analysis.intervals import interval
from modeledge.core import InputError
from modeledge.recipe.read import read_file
from modeledge.run.claim import Claim, Verdict, overall, read_claim
from modeledge.run.identity import digest

FILE = "outcome.json"


def identity(path: str | Path) -> str:
    """A digest of what a claim's file says; how long it takes is no part of it."""
    keys = read_file(Path(path))[0]
    return digest(json.dumps({k: v for k, v in keys.items() if k != "minutes"}, sort_keys=True))


@dataclass
class Outcome:
    """Values by measure, arm and seed, and what each arm cost. of: the identity of the file that was tested."""

    name: str
    of: str
    seeds: int
    values: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    costs: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    shown: str = ""

    def add(self, measure: str, arm: str, seed: int, value: float) -> None:
        """One cell."""
        self.values.setdefault(measure, {}).setdefault(arm, {})[seed] = value

    def spent(self, arm: str, seed: int, cost: dict[str, Any]) -> None:
        """What training and judging an arm took."""
        self.costs.setdefault(arm, {})[seed] = cost

    def verdicts(self, claim: Claim) -> list[Verdict]:
        """One for each expectation."""
        return [e.verdict(e.found(self.values)) for e in claim.expect]

    def as_dict(self) -> dict[str, Any]:
        """What outcome.json holds: nothing that could not be computed again from it and the claim's file."""
        return {"name": self.name, "of": self.of, "seeds": self.seeds, "values": self.values, "costs": self.costs}

    def write(self, out: Path, claim: Claim) -> None:
        """outcome.json and outcome.md."""
        self.shown = markdown(claim, self)
        (out / FILE).write_text(json.dumps(self.as_dict(), indent=1) + "\n", encoding="utf-8")
        (out / "outcome.md").write_text(self.shown, encoding="utf-8")

    def __str__(self) -> str:
        return self.shown.rstrip()


def read_outcome(path: Path) -> Outcome:
    """An outcome from its file. Raises InputError for a file that is none."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        values = {m: {a: _by_seed(v) for a, v in arms.items()} for m, arms in known["values"].items()}
        costs = {a: _by_seed(c) for a, c in known["costs"].items()}
        return Outcome(known["name"], known["of"], known["seeds"], values, costs)
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not an outcome of a claim: {error!r}") from None


def _by_seed(values: Mapping[str, Any]) -> dict[int, Any]:
    return {int(seed): value for seed, value in values.items()}


# -- for a reader ------------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Four figures, or all of them for large whole numbers."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def shown(values: Mapping[int, float]) -> str:
    """A mean over seeds with the half-width of its interval, where there is one that is not zero."""
    mean, half, n = interval(list(values.values()))
    return number(mean) if n < 2 or half == 0 else f"{number(mean)} ± {number(half)}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def markdown(claim: Claim, outcome: Outcome) -> str:
    """One claim: what it says, what every arm came to, what was expected, found and is to be concluded."""
    verdicts = outcome.verdicts(claim)
    lines = [f"## {outcome.name}: {overall(verdicts)}", "", f"{claim.claim}", "", *about(claim, outcome), ""]
    rows = []
    for arm in claim.arms:
        cost = outcome.costs[arm].values()
        steps, tokens = (sum(c[k] for c in cost) / len(cost) for k in ("steps", "tokens"))
        cells = [shown(outcome.values[m][arm]) for m in claim.measures]
        rows.append([arm, f"{steps:.0f}", f"{tokens:.3g}", *cells])
    lines += [*table(["arm", "steps", "tokens", *claim.measures], rows), ""]
    rows = []
    for e, verdict in zip(claim.expect, verdicts, strict=True):
        found = e.found(outcome.values)
        text = number(found.mean) if found.n < 2 or found.half == 0 else f"{number(found.mean)} ± {number(found.half)}"
        rows.append([e.quantity(), e.bound(), text, f"**{verdict}**"])
    lines += [*table(["expected of", "to be", "found", "verdict"], rows), ""]
    lines += ["Refuted when " + "; or when ".join(e.refuted_when() for e in claim.expect) + "."]
    return "\n".join(lines) + "\n"


def about(claim: Claim, outcome: Outcome) -> list[str]:
    """Source, data, budget and time, in one paragraph."""
    files = sorted({f for d in claim.data.values() for f in (*d.files, *d.valid) if f not in claim.tables})
    files += sorted({rows.file for parts in claim.tables.values() for rows in parts} - set(files))
    costs = [c for arm in outcome.costs.values() for c in arm.values()]
    spent = sum(c["seconds"] + c["judging"] for c in costs) / 60
    return [
        f"Source: {claim.source}. Data: {', '.join(files)}. Each arm may spend {claim.budget}"
        f"{f', size {claim.size}' if claim.size else ''}, {outcome.seeds} seeds; {spent:.0f} minutes in all."
    ]


PAGE = """# Claims

Sentences of the literature put to the test in the small: {count} experiments, each a file in `experiments/` that names
its arms, data, budget, seeds and measures, and what would refute it. The verdicts are computed from 95 % intervals
over seeds (Student's t, paired by seed): *supported* if the whole interval keeps within the bound, *refuted* if it lies
wholly beyond it, *undecided* otherwise; a claim is refuted if any part of it is. Models are tiny and budgets are
minutes: what is undecided or refuted here says nothing of larger ones, and is published as it came out.

Run again with `make claims`; one alone with `modeledge compare experiments/NAME.yaml --out RUN`. This page is written
by `tools/claims.py` from the files in `experiments/` and `experiments/results/`; a test holds it to them.
"""


def page(experiments: Path) -> str:
    """The page of all claims in a folder, with what `results/` beside them holds."""
    rows, parts = [], []
    for path in claims_in(experiments):
        claim, result = read_claim(path), experiments / "results" / f"{path.stem}.json"
        if not result.is_file():
            rows.append([path.stem, claim.claim, "not run yet"])
            continue
        outcome = read_outcome(result)
        if outcome.of != identity(path):
            rows.append([path.stem, claim.claim, "changed since it was run"])
            continue
        rows.append([f"[{path.stem}](#{path.stem.replace('_', '-')})", claim.claim, overall(outcome.verdicts(claim))])
        parts += ["", f'<a id="{path.stem.replace("_", "-")}"></a>', "", markdown(claim, outcome).rstrip()]
    head = PAGE.format(count=len(rows))
    return "\n".join([head, *table(["experiment", "claim", "verdict"], rows), *parts]) + "\n"


def claims_in(experiments: Path) -> list[Path]:
    """The files of claims in a folder, in the order of their names."""
    return [p for p in sorted(experiments.glob("*.yaml")) if ("claim",) in read_file(p)[1]]
