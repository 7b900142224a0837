"""Is pre-training on a laptop of use? A model pre-trained for some minutes against the same model from scratch.

    modeledge prepare TEXT.parquet ... --out stores/english --vocab 8192
    modeledge pretrain bert --size mini --data stores/english --budget 10min --out runs/10min
    python experiments/usefulness.py --model 10min=runs/10min --model 60min=runs/60min --out results/usefulness

Eight English tasks, all labels and 100, five seeds, 95 % intervals; every contender has its own best of two learning
rates, told on a tenth of the training rows, which it does not see then. All are read at the mean of the tokens: at the
first token a model pre-trained for minutes loses even to fresh weights. It can be stopped and started again: finished
cells are kept. A cell takes 20 to 110 s on one thread.

    python experiments/usefulness.py --page     # docs/usefulness.md from the committed results"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from modeledge.analysis.intervals import Interval, difference, interval
from modeledge.run.contest import Contender, Contest, markdown, percent
from modeledge.run.keep import load_model
from modeledge.run.question import Question, Tuning

MEAN = ("objectives.0.pool=mean",)
PRETRAINED = Tuning(epochs=4, least=150, most=600, sets=MEAN)
SCRATCH = Tuning(epochs=16, least=150, most=600, scratch=True, sets=MEAN)
RATES = (2e-4, 6e-4)
PAIR = {"text": "text1", "second": "text2"}
NLI = {"text": "premise", "second": "hypothesis"}


def questions(data: Path) -> list[Question]:
    """The eight tasks; the columns differ from set to set."""

    def ask(name: str, task: str, metric: str, length: int, columns: dict[str, str] | None = None) -> Question:
        return Question(task, data / "en" / f"{name}.train.parquet", None, columns, length, metric=metric, name=name)

    return [
        ask("sst2", "classify", "accuracy", 64),
        ask("subj", "classify", "accuracy", 64),
        ask("trec", "classify", "accuracy", 32, {"label": "coarse"}),
        ask("agnews", "classify", "accuracy", 64),
        ask("cola", "classify", "mcc", 32),
        ask("mrpc", "classify", "accuracy", 96, PAIR),
        ask("rte", "classify", "accuracy", 128, NLI),
        ask("stsb", "regress", "spearman", 64, {"text": "en1", "second": "en2", "label": "score"}),
    ]


ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "experiments" / "results", ROOT / "docs" / "usefulness.md"
HEAD = """# Is pre-training on a laptop of use?

Models of 4 layers of 256 with 8,192 word pieces, pre-trained on books, textbooks and encyclopedia passages, against the
same model from fresh weights. Every contender has its own best of two learning rates (told on a tenth of the training
rows, which are then left out there), reads the mean of the tokens, and is taught {seeds} times. Points of 100 with 95 %
intervals; a difference is bold where its interval leaves out zero. Seven in ten of the judged pairs of MRPC are
paraphrases: whoever says so more often gains by accuracy without knowing more, so Matthews' correlation is told too.

```bash
T=$MODELEDGE_DATA/text
modeledge prepare $T/en_books.train.parquet $T/en_textbooks.train.parquet $T/en_wiki_passages.train.parquet \\
  --out stores/english --vocab 8192
```
"""
TABLES = {
    "usefulness.json": """
## `bert`

The steps that ten minutes of two cores bought (3,040 steps of 32 rows of 128 tokens), and six times as many.

```bash
modeledge pretrain bert --size mini --data stores/english --budget 3040steps --out runs/10min
modeledge pretrain bert --size mini --data stores/english --budget 18240steps --out runs/60min
python experiments/usefulness.py --model 10min=runs/10min --model 60min=runs/60min --out results/usefulness
```

""",
    "usefulness_modern.json": """
## `modern`

Twenty minutes of two cores.

```bash
modeledge pretrain modern --size mini --data stores/english --budget 20min --out runs/20min
python experiments/usefulness.py --model 20min=runs/20min --out results/usefulness_modern
```

""",
    "usefulness_modern_pairs.json": """
## `modern_pairs`

Twenty minutes of two cores, on rows of two texts.

```bash
modeledge pretrain modern_pairs --size mini --data stores/english --budget 20min --out runs/pairs
python experiments/usefulness.py --model 20min=runs/pairs --out results/usefulness_modern_pairs
```

""",
    "usefulness_modern_pairs_60.json": """
## `modern_pairs`, an hour

```bash
modeledge pretrain modern_pairs --size mini --data stores/english --budget 60min --out runs/hour
python experiments/usefulness.py --model 60min=runs/hour --labels 0 --out results/usefulness_modern_pairs_60
```

""",
}


def page() -> str:
    """The documentation's page of the committed results."""
    made, seeds = [], set()
    for name, head in TABLES.items():
        if (RESULTS / name).is_file():
            told = json.loads((RESULTS / name).read_text(encoding="utf-8"))
            seeds.add(told["seeds"])
            made.append(head + table(told) + correlations(RESULTS / name.replace(".json", ".cells.jsonl"), told))
    (taught,) = seeds
    return HEAD.format(seeds=taught) + "".join(made)


def table(told: dict[str, Any]) -> str:
    """One contest, and on how many tasks who is better."""
    names = list(told["contenders"])
    rows = [{**r, **{k: {n: Interval(**i) for n, i in r[k].items()} for k in ("mean", "gain")}} for r in told["rows"]]
    lines = [markdown(rows, names)]
    for labels in dict.fromkeys(row["labels"] for row in rows):
        shown = "All labels" if labels is None else f"{labels} labels"
        for name in names[1:]:
            gains = [row["gain"][name] for row in rows if row["labels"] == labels]
            better, worse = (sum(g.sure and g.mean * sign > 0 for g in gains) for sign in (1, -1))
            lines.append(
                f"- {shown}, {name}: surely better on {better} of {len(gains)} tasks, surely worse on {worse}."
            )
        known = {row["question"] for row in rows if row["labels"] == labels}
        if missing := [question.name for question in questions(Path()) if question.name not in known]:
            lines.append(f"- {shown}: not run yet: {', '.join(missing)}.")
    return "\n".join(lines) + "\n"


def correlations(cells: Path, told: dict[str, Any]) -> str:
    """MRPC by Matthews' correlation: seven in ten of its rows are of one class, and whoever names it more often gains
    by accuracy without knowing more."""
    first, *others = told["contenders"]
    lines = []
    for labels in dict.fromkeys(row["labels"] for row in told["rows"] if row["question"] == "mrpc"):
        known: dict[str, dict[int, float]] = {name: {} for name in told["contenders"]}
        for line in cells.read_text(encoding="utf-8").splitlines():
            cell = json.loads(line)
            key = cell["key"]
            if (key["question"], key["labels"]) == ("mrpc", labels) and "figures" in cell and key["who"] in known:
                known[key["who"]][key["seed"]] = cell["figures"]["mcc"]
        shown = "all labels" if labels is None else f"{labels} labels"
        parts = [f"{first} {percent(interval(list(known[first].values())))}"]
        parts += [f"{n} - {first} {percent(difference(known[first], known[n]), sign=True)}" for n in others]
        lines.append(f"- MRPC by Matthews' correlation instead of accuracy, {shown}: {', '.join(parts)}.")
    return "\n".join(lines) + "\n" if lines else ""


def main() -> None:
    """Read the arguments, run what is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="NAME=FOLDER of a pre-trained model")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MODELEDGE_DATA", "data")))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, nargs="*", default=[100, 0], help="numbers of labels; 0: all of them")
    parser.add_argument("--tasks", nargs="*", default=None, help="only these of the eight")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name} from the results in {RESULTS.name}/")
    arguments = parser.parse_args()
    if arguments.page:
        PAGE.write_text(page(), encoding="utf-8")
        return
    if not arguments.model or arguments.out is None:
        parser.error("--model and --out say what to compare and where the results go")
    models = {name: load_model(Path(folder)) for name, _, folder in (m.partition("=") for m in arguments.model)}
    fresh = next(iter(models.values()))
    contenders = [Contender("scratch", fresh, SCRATCH, RATES)]
    contenders += [Contender(name, loaded, PRETRAINED, RATES) for name, loaded in models.items()]
    asked = [q for q in questions(arguments.data) if not arguments.tasks or q.name in arguments.tasks]
    labels = [few or None for few in arguments.labels]
    Contest(contenders, asked, arguments.out, labels, arguments.seeds).run()
    print((arguments.out / "table.md").read_text())


if __name__ == "__main__":
    main()
