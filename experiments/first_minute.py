"""What a minute of training gives each language recipe: the loss on held-out text beside what frequencies alone cost.

    python experiments/first_minute.py --out runs/first [--budget 60s] [NAME ...]
    python experiments/first_minute.py --page        # docs/first-minute.md from what was recorded; nothing is run

Every recipe at its tiny size, from fresh weights, with a tokenizer of its own kind trained on what it reads:
encyclopedia passages, captions in four languages with their translations, facts, tables (`first_texts.py`). What is
finished is kept in results/first_minute.jsonl and not repeated; a record belongs to the recipe as it was."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from first_texts import SIDES, reads_of, write_files

from modeledge.core import ModeledgeError, find
from modeledge.data.prepare import prepare
from modeledge.recipe.compare import ABOUT
from modeledge.recipe.resolve import resolve, shipped
from modeledge.recipe.schema import Recipe, check
from modeledge.run.health import judge
from modeledge.run.identity import digest
from modeledge.run.pretrain import Outcome, pretrain
from modeledge.tokenizers import load_tokenizer

HERE = Path(__file__).parent
RECORDS = HERE / "results" / "first_minute.jsonl"
PAGE = HERE.parent / "docs" / "first-minute.md"
SETS = {"transe": ["backbone.width=100"]}  # as wide as what `ernie_thu` reads
BEGINS = {"mtdnn": "bert"}  # tables are read with the tokenizer of a model
PLACES = ("entities", "phrases", "descriptions")
HEAD = """# The first minute

What {budget} of training buy each recipe at its tiny size on one thread: nats per target on held-out text, beside what
frequencies alone cost. Encyclopedia passages (Chinese: general text), captions in four languages with their
translations, a knowledge graph, labelled tables (`experiments/first_texts.py` says which reads what). Every run begins
with fresh weights (`mtdnn` with those of `bert`), also where the paper begins with another model's. A record belongs
to a recipe as it is now. Written by `python experiments/first_minute.py --page`.

The last column is what `modeledge report` says of the run: *learnt* is surely better than frequencies (or, where
nothing is known of these, than nothing); `nsp` and its kin often take longer than a minute.
"""


def stores_of(name: str, recipe: Recipe, out: Path) -> list[str]:
    """What each source of the recipe reads; all texts with the tokenizer of the first."""
    made: dict[str, Path] = {}
    home, tokenizer = out / name / "stores", recipe.tokenizer
    kinds = {source: find("data.sources", config.kind).reads for source, config in recipe.data.items()}
    for source in sorted(kinds, key=lambda n: kinds[n] != "text" or n in SIDES):
        read = reads_of(name, source, kinds[source], out / "transe" / "run")
        if read.raw:
            made[source] = out / "files" / read.file
            continue
        made[source] = home / Path(read.file).stem
        if not made[source].exists():
            places = {o: out / "files" / str(v) for o, v in read.options.items() if o in PLACES}
            options: dict[str, Any] = {"kind": kinds[source], "tokenizer": tokenizer, "valid_fraction": 0.05}
            prepare(out / "files" / read.file, out=made[source], **options | read.options | places)
        if kinds[source] != "triples":
            tokenizer = load_tokenizer(made[source])
    return [f"{source}={path}" for source, path in made.items()]


def language() -> list[str]:
    """The recipes that read text or facts; first those that others begin with."""
    names = [name for name, path in shipped().items() if path.parent.name == "text"]
    return sorted(names, key=lambda name: (name != "transe", name != "bert", name))


def told(name: str, budget: str, outcome: Outcome, key: str) -> dict[str, Any]:
    """What is recorded of a run."""
    lines = (outcome.out / "metrics.jsonl").read_text().splitlines()
    verdicts = {v.name: v.state for v in judge([json.loads(x) for x in lines], outcome.done.baselines)}
    result, losses = outcome.done.result, {}
    for objective, baselines in outcome.done.baselines.items():
        for nth, loss in enumerate(dict(outcome.done.model.each())[objective].losses):
            known = baselines if nth == 0 else {}
            losses[loss] = {
                "held_out": result.valid.get(loss),
                "training": result.losses.get(loss),
                **{k: known.get(k) for k in ("unigram", "uniform")},
                "state": verdicts.get(loss, "unknown"),
            }
    position = result.position
    return {
        "recipe": name,
        "of": key,
        "budget": budget,
        "steps": position.overall,
        "tokens": position.tokens,
        "losses": losses,
    }


def records() -> dict[str, dict[str, Any]]:
    """The newest record of each recipe that belongs to the recipe as it is."""
    lines = RECORDS.read_text().splitlines() if RECORDS.is_file() else []
    found = {r["recipe"]: r for r in map(json.loads, lines)}
    return {n: r for n, r in found.items() if n in shipped() and r["of"] == identity(n)}


def identity(name: str) -> str:
    """A digest of what the recipe does at this size."""
    keys = {k: v for k, v in resolve(name, size="tiny").keys.items() if k not in ABOUT}
    return digest(json.dumps(keys, sort_keys=True, default=str))


def page() -> str:
    """The table of what was recorded."""
    found = records()
    rows = ["| recipe | loss | steps | held out | unigram | uniform | |", "|---|---|---|---|---|---|---|"]
    show = lambda x: "" if x is None else f"{x:.2f}"  # noqa: E731
    for name in sorted(found):
        for nth, (objective, loss) in enumerate(found[name]["losses"].items()):
            first = (f"`{name}`", str(found[name]["steps"])) if nth == 0 else ("", "")
            held = loss["held_out"]
            figures = [
                show(held) or f"{show(loss['training'])} (training)",
                show(loss["unigram"]),
                show(loss["uniform"]),
            ]
            rows.append(f"| {first[0]} | {objective} | {first[1]} | {' | '.join(figures)} | {loss['state']} |")
    budgets = sorted({r["budget"] for r in found.values()})
    lacking = [f"`{name}`" for name in sorted(language()) if name not in found]
    rest = f"\nWithout a record as they are now: {', '.join(lacking)}.\n" if lacking else ""
    return HEAD.format(budget=" or ".join(budgets) or "60s") + "\n" + "\n".join(rows) + "\n" + rest


def main() -> None:
    """Run what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("runs/first"))
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MODELEDGE_DATA", "data")))
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    if not given.page:
        write_files(given.data, given.out / "files")
        done = records()
        for name in given.names or language():
            if name in done:
                continue
            try:
                recipe = check(resolve(name, size="tiny"))
                stores = stores_of(name, recipe, given.out)
                outcome = pretrain(
                    name,
                    size="tiny",
                    sets=SETS.get(name, []),
                    data=stores,
                    init=given.out / BEGINS[name] / "run" if name in BEGINS else None,
                    out=given.out / name / "run",
                    budget=given.budget,
                    quiet=True,
                )
            except ModeledgeError as error:
                print(f"{name}: {error}", flush=True)
                continue
            record = told(name, given.budget, outcome, identity(name))
            print(json.dumps(record), flush=True)
            RECORDS.parent.mkdir(exist_ok=True)
            with open(RECORDS, "a", encoding="utf-8") as out:
                out.write(json.dumps(record) + "\n")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
