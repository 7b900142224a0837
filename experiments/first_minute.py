"""What a minute of training gives each language recipe: the loss on held-out text beside what frequencies alone cost.

    python experiments/first_minute.py --out runs/first [--budget 60s] [NAME ...]
    python experiments/first_minute.py --page        # docs/first-minute.md from what was recorded; nothing is run

Every recipe at its tiny size, with a tokenizer of its own kind trained on the same text: encyclopedia passages, or
captions in four languages with their translations. What is finished is kept in results/first_minute.jsonl and not
repeated; a record belongs to the recipe as it was."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from modeledge.core import ModeledgeError, find
from modeledge.data.prepare import prepare
from modeledge.recipe.resolve import resolve, shipped
from modeledge.recipe.schema import Recipe, check
from modeledge.run.health import judge
from modeledge.run.identity import digest
from modeledge.run.pretrain import Outcome, pretrain
from modeledge.tokenizers import load_tokenizer

HERE = Path(__file__).parent
RECORDS = HERE / "results" / "first_minute.jsonl"
PAGE = HERE.parent / "docs" / "first-minute.md"
ENGLISH = """albert bart bert bert_wwm electra elmo glm glm_document gpt gpt2 gpt3 mapnet mass modern modern_clm
modern_rtd mpnet palm pegasus roberta siatl spanbert t5 transformer_xl awd_lstm ulmfit unilm xlnet word2vec
word2vec_cbow""".split()
CHINESE = "bert_wwm_zh nezha".split()
LANGUAGES = "mbert xlm xlm_clm xlm_r mbart".split()
PARALLEL = "xlm_tlm alm unicoder infoxlm hictl ernie_m xnlg transformer cove".split()
TONGUES = ("en", "de", "fr", "cs")
HEAD = """# The first minute

What {budget} of training buy each recipe at its tiny size on one thread: nats per target on held-out text, beside what
frequencies alone cost. Encyclopedia passages (Chinese: general text), or captions in four languages and their
translations. A record belongs to a recipe as it is now. Written by `python experiments/first_minute.py --page`.
"""


def write_files(data: Path, out: Path) -> None:
    """The text of each group of recipes, once."""
    out.mkdir(parents=True, exist_ok=True)
    captions = pq.read_table(data / "parallel/multi30k.train.parquet").to_pylist()
    some = [pq.read_table(data / f"text/{n}.train.parquet").to_pylist() for n in ("en_wiki_passages", "zh_general")]
    parts: dict[str, Iterator[dict[str, str]]] = {
        "english": ({"text": row["text"]} for row in some[0]),
        "chinese": ({"text": row["text"]} for row in some[1]),
        "languages": (
            {"text": "\n".join(row[lang] for row in captions[i : i + 8]), "lang": lang}
            for lang in TONGUES
            for i in range(0, len(captions), 8)
        ),
        "parallel": ({"text": row["en"], "second": row["de"], "lang": "en", "second_lang": "de"} for row in captions),
    }
    for name, rows in parts.items():
        if not (out / f"{name}.jsonl").exists():
            (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def stores_of(name: str, recipe: Recipe, files: Path, out: Path) -> list[str]:
    """A store for each source of the recipe, all with the tokenizer of the first."""
    made: list[str] = []
    group = "english" if name in ENGLISH else "chinese" if name in CHINESE else "languages"
    tokenizer: Any = recipe.tokenizer
    reads = {n: find("data.sources", c.kind).reads for n, c in recipe.data.items()}
    for source in sorted(reads, key=lambda n: reads[n] == "parallel"):
        parallel = reads[source] == "parallel"
        home = out / "stores" / reads[source]
        if not home.exists():
            options: dict[str, Any] = {"second": "second"} if parallel else {}
            lang = "lang" if group == "languages" and not parallel else None
            file = files / f"{'parallel' if parallel else group}.jsonl"
            prepare(file, out=home, kind=reads[source], tokenizer=tokenizer, lang=lang, valid_fraction=0.05, **options)
        tokenizer = load_tokenizer(home)
        made.append(f"{source}={home}")
    return made


def told(name: str, budget: str, outcome: Outcome, key: str) -> dict[str, Any]:
    """What is recorded of a run."""
    lines = (outcome.out / "metrics.jsonl").read_text().splitlines()
    verdicts = {v.name: v.state for v in judge([json.loads(x) for x in lines], outcome.done.baselines)}
    result, losses = outcome.done.result, {}
    for objective, baselines in outcome.done.baselines.items():
        first = dict(outcome.done.model.each())[objective].losses[0]
        losses[objective] = {
            "held_out": result.valid.get(first),
            "training": result.losses.get(first),
            **{k: baselines.get(k) for k in ("unigram", "uniform")},
            "state": verdicts.get(first, "unknown"),
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
    """A digest of the recipe's keys."""
    return digest(json.dumps(resolve(name, size="tiny").keys, sort_keys=True, default=str))


def page() -> str:
    """The table of what was recorded."""
    found = records()
    rows = ["| recipe | objective | steps | held out | unigram | uniform | |", "|---|---|---|---|---|---|---|"]
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
    return HEAD.format(budget=" or ".join(budgets) or "60s") + "\n" + "\n".join(rows) + "\n"


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
        for name in given.names or [*ENGLISH, *CHINESE, *LANGUAGES, *PARALLEL]:
            if name in done:
                continue
            try:
                recipe = check(resolve(name, size="tiny"))
                stores = stores_of(name, recipe, given.out / "files", given.out / name)
                outcome = pretrain(
                    name, size="tiny", data=stores, out=given.out / name / "run", budget=given.budget, quiet=True
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
