"""Where the rows of a table mention what a gazetteer lists: found among their tokens, as `prepare` does in text.

Source of what is done with entities: Tsinghua ERNIE, arXiv:1905.07129 §3.4. Not here: facts hung onto mentions
(_tree.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from modeledge.core import Facts, InputError
from modeledge.data._gazetteer import Gazetteer, read_entities
from modeledge.data.sources._forms import Row


def mentions(
    rows: list[Row], gazetteer: Gazetteer, tokenizer: Any
) -> list[tuple[Int[np.ndarray, " t"], Bool[np.ndarray, " t"]]]:
    """For each row the number of the mention that a token belongs to (-1: none), and which tokens begin one.

    All rows are searched at once; nothing is found across special tokens."""
    special = [row["special"] for row in rows]
    edges = [s | np.append(True, s[:-1]) for s in special]
    ids, edge = np.concatenate([row["ids"] for row in rows]), np.concatenate(edges)
    found = gazetteer.find(ids, tokenizer.word_starts(ids) | edge, np.flatnonzero(edge))
    ends = np.cumsum([len(s) for s in special])[:-1]
    return list(zip(*(np.split(field, ends) for field in found), strict=True))


class Linker:
    """Marks in rows of tables the entities that a model knows, by the surface forms of a file.

    The file is of the form that `prepare --entities` reads. Raises InputError for a model that knows no entities, or
    none of these."""

    def __init__(self, file: str, facts: Facts):
        if not facts.names:
            raise InputError(
                f"{file}: this model knows no entities\n  next: leave --entities out, or pre-train on a text prepared "
                "with --entities (recipe ernie_thu)"
            )
        forms, owners, names = read_entities(Path(file))
        known = {name: number for number, name in enumerate(facts.names)}
        numbers = [known.get(name, -1) for name in names]
        kept = [(form, numbers[owner]) for form, owner in zip(forms, owners, strict=True) if numbers[owner] >= 0]
        if not kept:
            raise InputError(
                f"{file}: none of these {len(names)} entities is known to the model; it knows {facts.names[0]!r} and "
                f"{len(facts.names) - 1} more\n  next: the file that the text was prepared with"
            )
        self.gazetteer = Gazetteer([form for form, _ in kept], [number for _, number in kept], facts.tokenizer)
        self.tokenizer, self.found = facts.tokenizer, 0

    def mark(self, rows: list[Row]) -> list[Row]:
        """The rows with `entities` (the number on each token of a mention, -1 elsewhere) and `entity_starts`."""
        marked = []
        for row, (entities, starts) in zip(rows, mentions(rows, self.gazetteer, self.tokenizer), strict=True):
            self.found += int(starts.sum())
            marked.append(row | {"entities": entities, "entity_starts": starts})
        return marked
