"""What can go wrong, and how it is said: where, what was given, what is allowed, the nearest, the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ModeledgeError(Exception):
    """Anything the program reports in one message without a traceback."""

    exit_code = 1


class InputError(ModeledgeError):
    """The user's input is wrong; nothing was lost by stopping. Exit code 2."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe, an override or a command-line choice is wrong."""


class DataError(InputError):
    """A file, a row or a column is wrong; the message begins with the file and, where there is one, the line."""


class TooLittle(DataError):
    """There is not enough of the data for a single row; held-out data may do without."""


class RunError(ModeledgeError):
    """A run failed while running (numbers, disk, processes). Exit code 1."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to `word`, or None if nothing is close."""
    pool = list(known)
    folded = {k.lower().replace("-", "_"): k for k in pool}
    word = word.lower().replace("-", "_")
    close = difflib.get_close_matches(word, list(folded), n=5, cutoff=0.5)
    return folded[min(close, key=lambda k: slips(word, k))] if close else None


def slips(a: str, b: str) -> int:
    """How many letters are to be lost, put in, exchanged or swapped with their neighbour to make one word the other.

    The restricted distance of Damerau (1964): swapped neighbours are one slip, for which plain matching sees two."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y)))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[-1] = min(row[-1], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


def unknown(where: str, what: str, name: str, known: Iterable[str], *, then: str = "") -> str:
    """The text of an error about a name that does not exist.

    >>> unknown("--task", "task", "clasify", ["classify", "tag"])
    "--task: no task named 'clasify'; did you mean 'classify'?\\n  known: classify, tag"
    """
    pool = sorted(set(known))
    close = nearest(name, pool)
    hint = f"; did you mean {close!r}?" if close else ""
    shown = ", ".join(pool[:40]) + (", ..." if len(pool) > 40 else "")
    text = f"{where}: no {what} named {name!r}{hint}\n  known: {shown or '(none)'}"
    return text + (f"\n  next: {then}" if then else "")
