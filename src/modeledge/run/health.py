"""Has a run learnt anything? Its losses beside what knowing nothing and knowing only frequencies would cost."""

from __future__ import annotations

import math
from statistics import median
from typing import Any, Literal, NamedTuple

MARGIN = 0.05
"""Nats per target by which a loss must beat a baseline, or rise above its best, to count."""


LATE, EACH, LEAST = 0.4, 0.05, 20
"""The share of a run by which it should have learnt something, how often it is looked at, and from how many records."""
FEW = 5
"""Losses of one step differ by what its rows happen to be: so many at least make a figure, if there are."""


class Verdict(NamedTuple):
    """One objective's health: what happened, in a sentence, and what to do about it (empty if nothing)."""

    name: str
    state: Literal["learnt", "frequencies", "nothing", "memorises", "diverged", "unknown"]
    text: str
    advice: str = ""


def judge(records: list[dict[str, Any]], baselines: dict[str, dict[str, float]]) -> list[Verdict]:
    """A verdict for every loss in the records of a metrics.jsonl, in the order they were logged.

    baselines: objective -> {"uniform": nats, "unigram": nats}."""
    last_stage = max((r.get("stage", 0) for r in records), default=0)
    records = [r for r in records if r.get("stage", 0) == last_stage]
    names = list(dict.fromkeys(name for r in records for name in r.get("loss", {})))
    return [_judge(name, records, baselines.get(name, {})) for name in names]


class Health:
    """Watches a run and says, once each, what cannot wait for its end: that it diverges, or that a good part of it has
    gone by (`LATE`) and it has learnt nothing but frequencies."""

    def __init__(self, baselines: dict[str, dict[str, float]]):
        self.baselines = baselines
        self.records: list[dict[str, Any]] = []
        self.said: set[str] = set()
        self.looked = 0.0

    def hear(self, record: dict[str, Any], done: float) -> list[str]:
        """Take a record of metrics.jsonl, logged when this share of the run was done; the warnings it gives rise to."""
        self.records.append(record)
        if done - self.looked < EACH or len(self.records) < LEAST:
            return []
        self.looked = done
        bad = ("diverged", "nothing", "frequencies") if done >= LATE else ("diverged",)
        found = [v for v in judge(self.records, self.baselines) if v.state in bad and v.name not in self.said]
        self.said |= {v.name for v in found}
        return [f"{v.name} after {done:.0%} of the steps: {v.text}\n  next: {v.advice}" for v in found]


def _judge(name: str, records: list[dict[str, Any]], baseline: dict[str, float]) -> Verdict:
    train = [float(r["loss"][name]) for r in records if name in r.get("loss", {})]
    held = [float(r["valid"][name]) for r in records if name in r.get("valid", {})]
    now, lowest = median(train[-max(FEW, len(train) // 20) :]), _lowest(train)
    now = now if math.isfinite(train[-1]) else math.nan
    if not math.isfinite(now) or now > lowest + max(0.5, 0.1 * abs(lowest)):
        where = "not finite" if not math.isfinite(now) else f"{now:.2f} after a best of {lowest:.2f}"
        return Verdict(
            name, "diverged", f"diverged: {where}", "a lower optim.lr, a longer schedule.warmup, loop.clip=1"
        )
    loss, which = (held[-1], "held-out") if held else (now, "training")
    if held and held[-1] > min(held) + MARGIN and held[-1] > now + 2 * MARGIN:
        text = f"memorises: held-out loss {held[-1]:.2f}, {min(held):.2f} at its best, training loss {now:.2f}"
        return Verdict(name, "memorises", text, "more data, fewer steps, or loop.evaluate.patience")
    unigram, uniform = baseline.get("unigram"), baseline.get("uniform")
    if unigram is not None and loss < unigram - MARGIN:
        below = f"{unigram - loss:.2f} nats per target below the unigram baseline ({unigram:.2f})"
        return Verdict(name, "learnt", f"learnt from context: {which} loss {loss:.2f} is {below}")
    more = "more steps, or a higher optim.lr"
    if unigram is not None and uniform is not None and loss < uniform - MARGIN:
        text = f"frequencies only: {which} loss {loss:.2f} is not below the unigram baseline ({unigram:.2f})"
        return Verdict(name, "frequencies", text, more)
    floor = uniform if uniform is not None else unigram
    if floor is not None:
        if loss < floor - MARGIN:
            return Verdict(name, "learnt", f"learnt: {which} loss {loss:.2f}, {floor:.2f} without learning")
        text = f"nothing learnt: {which} loss {loss:.2f} is not below {floor:.2f}, the cost of knowing nothing"
        return Verdict(name, "nothing", text, more)
    return Verdict(name, "unknown", f"{which} loss {loss:.2f}, {train[0]:.2f} at the first step; no baseline is known")


def _lowest(values: list[float]) -> float:
    """The lowest median of twentieths (of whole stretches of FEW, in short runs), so that one lucky batch does not
    count; or the first, which is that of the fresh model."""
    width = max(FEW, len(values) // 20)
    parts = [values[i : i + width] for i in range(0, max(1, len(values) - width + 1), width)]
    return min([median(p) for p in [values[:1], *parts] if all(map(math.isfinite, p))], default=math.inf)
