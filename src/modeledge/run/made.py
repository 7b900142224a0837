"""Tables made of the columns of others by filling templates: a language a part, a pair of a sentence and its entities.

Nothing in a template is executed: {column} stands for the column's value (a list: its items with spaces between), and
{column:first:end} for the items of a list from the number in one column up to that in another."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from modeledge.core import Config, DataError, keyed
from modeledge.data.readers import Bad, Wanted, read

_HOLE = re.compile(r"\{([A-Za-z_]\w*)(?::(\w+):(\w+))?\}")
_ANY = (str, int, float, bool, list)


class Rows(Config):
    """Rows of one file. columns: the new columns as templates; shuffle: columns of the file whose values are dealt out
    anew among the rows, which makes them wrong; rows: only the first so many (0: all)."""

    file: str
    columns: dict[str, str] = Field(min_length=1)
    shuffle: tuple[str, ...] = ()
    rows: int = Field(0, ge=0)

    def read(self, file: Path) -> list[dict[str, Any]]:
        """The columns of `file` that the templates name. Raises DataError at a bad row and for a column that is not
        there."""
        holes = [hit for template in self.columns.values() for hit in _HOLE.findall(template)]
        names = tuple(dict.fromkeys(name for hole in holes for name in hole if name))
        wanted = Wanted(dict.fromkeys(names, _ANY), optional=names)
        found: list[dict[str, Any]] = []
        for record in read(file, wanted, Counter()):
            if isinstance(record, Bad):
                raise DataError(str(record))
            found.append(record.value)
            if self.rows and len(found) == self.rows:
                break
        for name in names:
            if all(row[name] is None for row in found):
                raise DataError(f"{file}: no row has a column {name!r}")
        order = keyed("shuffled columns").permutation(len(found))
        dealt = {c: [found[i][c] for i in order] for c in self.shuffle}
        return [row | {c: dealt[c][n] for c in self.shuffle} for n, row in enumerate(found)]

    def fill(self, row: Mapping[str, Any]) -> dict[str, str]:
        """One new row."""
        return {name: _HOLE.sub(lambda hit: _value(row, hit), template) for name, template in self.columns.items()}


def _value(row: Mapping[str, Any], hit: re.Match[str]) -> str:
    value = "" if row[hit[1]] is None else row[hit[1]]
    if hit[2]:
        value = value[int(row[hit[2]]) : int(row[hit[3]])]
    return " ".join(str(v) for v in value) if isinstance(value, list) else str(value)


def make_table(parts: Sequence[Rows], data: Path, out: Path) -> Path:
    """Write the rows of all parts as JSON lines to `out`, unless they lie there; `data` is where their files are."""
    if not out.is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = out.with_suffix(".part")
        with aside.open("w", encoding="utf-8") as target:
            for part in parts:
                for row in part.read(data / part.file):
                    target.write(json.dumps(part.fill(row), ensure_ascii=False) + "\n")
        aside.replace(out)
    return out
