"""Names by number, a line each, in a file beside the columns of a store or the weights of a model.

A name is any text without line ends; its number is its line, counted from 0."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors.numpy import load_file

from modeledge.core import DataError, InputError

ENTITIES, RELATIONS = "entities.txt", "relations.txt"


class Numbers(dict[str, int]):
    """Numbers given to names in the order in which they are first asked for."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


def write_names(folder: Path, names: Iterable[str], file: str = ENTITIES) -> None:
    """Write names in the order of their numbers."""
    (folder / file).write_text("".join(f"{' '.join(name.split())}\n" for name in names), encoding="utf-8")


def read_names(folder: Path, file: str = ENTITIES) -> list[str]:
    """The names by number. Raises DataError if the file is not there."""
    if not (folder / file).is_file():
        raise DataError(f"{folder / file}: missing: the names by number; prepare the data again")
    return (folder / file).read_text(encoding="utf-8").split("\n")[:-1]


def vectors_for(names: list[str], folder: Path) -> Float[np.ndarray, "n d"]:
    """The vectors that a model of triples has for these entities, zeros for those it does not know.

    `folder`: of the model or its run. Raises InputError if it has no vectors of entities or knows none of these."""
    folder = folder / "model" if (folder / "model" / ENTITIES).is_file() else folder
    if not (folder / ENTITIES).is_file() or not (folder / "model.safetensors").is_file():
        raise InputError(
            f"--vectors {folder}: not a model of triples\n  next: modeledge pretrain transe --data TRIPLES"
        )
    table = load_file(folder / "model.safetensors").get("backbone.embed.weight")
    known = {name: number for number, name in enumerate(read_names(folder))}
    if table is None or len(table) != len(known):
        raise InputError(f"--vectors {folder}: this model has no vector for each of its entities")
    at = np.array([known.get(name, -1) for name in names])
    if (at < 0).all():
        here, there = names[0], next(iter(known))
        raise InputError(
            f"--vectors {folder}: it knows none of the entities; they are named {here!r} here, {there!r} there"
        )
    return np.where(at[:, None] >= 0, table[at], 0.0).astype(np.float32)
