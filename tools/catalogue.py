"""Write docs/catalogue.md from docs/catalogue.tsv: what runs, how, and the test that proves it."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "catalogue.tsv"
PAGE = ROOT / "docs" / "catalogue.md"
HEAD = """# Catalogue

Every system and technique that the survey literature of 2013-2021 names, with its paper, how to run it here, and the
test that proves it. **{done} of {all} run today**; the others say *not yet*. Written by `make catalogue` from
`docs/catalogue.tsv`; a test checks that every recipe, part and test named here exists.

A recipe runs with `modeledge pretrain RECIPE --data FILES --out RUN`; a part is what a recipe names by its `kind`.
"""


def read_rows(file: Path = TABLE) -> list[dict[str, str]]:
    """The rows: group, system, paper, recipe, part, test, note. Several entries in a cell are parted by spaces."""
    with file.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source, delimiter="\t"))


def code(words: str) -> str:
    """Each entry of a cell as code."""
    return " ".join(f"`{word}`" for word in words.split())


def runs(row: dict[str, str]) -> bool:
    """Whether a system can be run today: it has a recipe or a part, and a test."""
    return bool((row["recipe"] or row["part"]) and row["test"])


def page(rows: Iterable[dict[str, str]]) -> str:
    """The page: one table a group."""
    rows = list(rows)
    out = [HEAD.format(done=sum(map(runs, rows)), all=len(rows))]
    for group in dict.fromkeys(row["group"] for row in rows):
        out += [f"\n## {group}\n", "| system | paper | recipe or part | proved by |", "|---|---|---|---|"]
        for row in (r for r in rows if r["group"] == group):
            how = " ".join(filter(None, [code(row["recipe"]), code(row["part"])])) if runs(row) else "not yet"
            how += f" ({row['note']})" if row["note"] else ""
            tests = " ".join(f"`{t.removeprefix('tests/')}`" for t in row["test"].split()) if runs(row) else ""
            out.append(f"| {row['system']} | {row['paper']} | {how} | {tests} |")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(read_rows()), encoding="utf-8")
