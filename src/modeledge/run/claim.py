"""A claim of a paper as a file: which arms are trained on what, what is measured, and what would refute it.

The verdict is computed from 95 % intervals over seeds: an expectation is supported if the whole interval keeps within
its bound, refuted if the whole interval lies beyond it, undecided otherwise and with a single seed. Not here: training
(trial.py), what can be measured (measures.py), the words for a reader (outcome.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from modeledge.analysis.intervals import Interval, interval
from modeledge.core import Config, RecipeError, unknown
from modeledge.recipe.read import read_file, show_path
from modeledge.recipe.resolve import Tree
from modeledge.recipe.schema import close_choice
from modeledge.run.budget import parse_budget
from modeledge.run.made import Rows
from modeledge.run.measures import Measure, known_tuning

Verdict = Literal["supported", "refuted", "undecided"]
Values = Mapping[str, Mapping[int, float]]
"""Values of one measure by arm and seed."""


class Data(Config):
    """What is prepared for a source.

    files: below the data folder, or names of `tables`; valid: files to hold out instead of the share `held`; kind: what
    `prepare` makes of them; columns: which column holds what; tokenizer: use that of this other entry; descriptions:
    of the entities of triples (a name of `tables`)."""

    files: tuple[str, ...] = Field(min_length=1)
    valid: tuple[str, ...] = ()
    held: float = Field(0.02, gt=0, lt=1)
    kind: str = "text"
    columns: dict[str, str] = {}
    tokenizer: str | None = None
    descriptions: str | None = None


class Arm(Config):
    """One of the things compared.

    recipe: a name, or a file beside this one; sets: overrides of this arm alone; after: begin with the weights of this
    other arm; budget: instead of the claim's; tuning, columns: settings of this arm laid over those of every task."""

    recipe: str
    sets: tuple[str, ...] = ()
    after: str | None = None
    budget: str | None = None
    tuning: dict[str, Any] = {}
    columns: dict[str, str] = {}

    @field_validator("tuning")
    @classmethod
    def _known(cls, tuning: dict[str, Any]) -> dict[str, Any]:
        return known_tuning(tuning)


class Expectation(Config):
    """What the claim says of one measure, or of the mean of several: the arm's value less that of the arm it is held
    against (or over it: ratio) is at least, or at most, so much."""

    measure: str | tuple[str, ...]
    arm: str
    against: str
    by: Literal["difference", "ratio"] = "difference"
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Expectation:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give at_least or at_most, one of the two")
        return self

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures it is the mean of."""
        return (self.measure,) if isinstance(self.measure, str) else self.measure

    def found(self, values: Mapping[str, Values]) -> Interval:
        """The paired differences (or ratios) over the seeds that both arms have."""
        pairs = [(self._mean(values, self.arm, s), self._mean(values, self.against, s)) for s in self._seeds(values)]
        return interval([a / b if self.by == "ratio" else a - b for a, b in pairs])

    def _seeds(self, values: Mapping[str, Values]) -> list[int]:
        first = values[self.measures[0]]
        return [s for s in first[self.arm] if s in first[self.against]]

    def _mean(self, values: Mapping[str, Values], arm: str, seed: int) -> float:
        return sum(values[m][arm][seed] for m in self.measures) / len(self.measures)

    def verdict(self, found: Interval) -> Verdict:
        """What an interval says of the bound."""
        if found.n < 2:
            return "undecided"
        low, high = found.mean - found.half, found.mean + found.half
        if self.at_least is not None:
            return "supported" if low >= self.at_least else "refuted" if high < self.at_least else "undecided"
        assert self.at_most is not None
        return "supported" if high <= self.at_most else "refuted" if low > self.at_most else "undecided"

    def quantity(self) -> str:
        """What is looked at, in words."""
        return f"{' and '.join(self.measures)}: {self.arm} {'/' if self.by == 'ratio' else '-'} {self.against}"

    def bound(self) -> str:
        """The bound, in words."""
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"

    def refuted_when(self) -> str:
        """What would refute it, in words."""
        side = f"below {self.at_least:g}" if self.at_least is not None else f"above {self.at_most:g}"
        return f"the 95 % interval of {self.quantity()} lies wholly {side}"


class Claim(Config):
    """A sentence of a paper, and an experiment that can come out either way.

    minutes: of one core, as estimated; tables: made of the data's columns; data: by the names of the sources; size,
    sets: of every arm; budget: what each arm may spend; expect: all of it must hold."""

    claim: str
    source: str
    minutes: float = Field(gt=0)
    tables: dict[str, tuple[Rows, ...]] = {}
    data: dict[str, Data]
    size: str | None = None
    sets: tuple[str, ...] = ()
    budget: str
    seeds: int = Field(3, ge=1)
    arms: dict[str, Arm] = Field(min_length=2)
    measures: dict[str, Annotated[Measure, Field(discriminator="kind")]] = Field(min_length=1)
    expect: tuple[Expectation, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> Claim:
        for number, e in enumerate(self.expect):
            where = f"expect[{number}]"
            _known(f"{where}.measure", "measure", e.measures, self.measures)
            _known(where, "arm", (e.arm, e.against), self.arms)
        for name, arm in self.arms.items():
            _known(f"arms.{name}.after", "arm", (arm.after,) if arm.after else (), self.arms)
            parse_budget(arm.budget or self.budget)
            self.line(name)
        for name, data in self.data.items():
            _known(f"data.{name}.tokenizer", "data", (data.tokenizer,) if data.tokenizer else (), self.data)
            _known(f"data.{name}", "table", (data.descriptions,) if data.descriptions else (), self.tables)
        return self

    def line(self, arm: str) -> tuple[str, ...]:
        """An arm and those whose weights it begins with, the nearest first."""
        found = [arm]
        while (before := self.arms[found[-1]].after) is not None:
            if before in found:
                raise RecipeError(f"arms.{arm}.after: goes in a circle: {' -> '.join([*found, before])}")
            found.append(before)
        return tuple(found)

    def brief(self) -> Claim:
        """The same with one seed and a few steps everywhere: does every arm run from end to end?"""
        arms = {n: a.model_copy(update={"budget": None}) for n, a in self.arms.items()}
        measures = {n: m.brief() for n, m in self.measures.items()}
        return self.model_copy(update={"budget": "2steps", "seeds": 1, "arms": arms, "measures": measures})


def _known(where: str, what: str, names: Sequence[str], known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            raise RecipeError(unknown(where, what, name, known))


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a claim: refuted if any part of it is, supported if every part is."""
    if "refuted" in verdicts:
        return "refuted"
    return "supported" if all(v == "supported" for v in verdicts) else "undecided"


def is_claim(name: str) -> bool:
    """Whether a file is one of a claim (and not of a recipe)."""
    path = Path(name)
    return path.suffix in (".yaml", ".yml") and path.is_file() and ("claim",) in read_file(path)[1]


def read_claim(path: str | Path) -> Claim:
    """The claim of a file. Raises RecipeError with file and line for anything that is wrong with it."""
    keys, places = read_file(Path(path))
    tree = Tree(Path(path).stem, keys, places)
    try:
        return Claim.model_validate(keys)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    except ValidationError as error:
        lines = []
        for e in error.errors():
            place = tuple(p for p in e["loc"] if (p,) in places or any(p in known for known in places))
            close = close_choice(dict(e)) if e["type"] == "literal_error" else ""
            found = "" if e["type"] in ("value_error", "missing") else f"; found {e.get('input')!r}{close}"
            msg = f"{e['loc'][-1]} is needed and missing" if e["type"] == "missing" else e["msg"]
            lines.append(f"{tree.place(place) or path}: {show_path(place)}: {msg}{found}")
        raise RecipeError("\n".join(dict.fromkeys(lines))) from None
