"""One table of tensor names, read in both directions.

An entry says which tensor of ours a Hugging Face tensor is (a plain string), or which it holds and how (a Move). `{i}`
counts layers. A name left over on either side is an error: nothing is skipped in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from modeledge.core import InputError


@dataclass(frozen=True)
class Move:
    """One Hugging Face tensor, the tensors of ours it holds, and the way in both directions."""

    ours: tuple[str, ...]
    split: Callable[[Tensor], list[Tensor]] = lambda theirs: [theirs]
    join: Callable[[list[Tensor]], Tensor] = lambda ours: ours[0]


Names = Mapping[str, "str | Move"]


def turned(name: str) -> Move:
    """A matrix stored the other way round (GPT-2's "Conv1D")."""
    return Move((name,), lambda theirs: [theirs.T], lambda ours: ours[0].T)


def stacked(*names: str) -> Move:
    """Several of ours side by side; matrices are turned as well."""

    def turn(x: Tensor) -> Tensor:
        return x.T if x.ndim == 2 else x

    return Move(names, lambda theirs: list(turn(theirs).chunk(len(names))), lambda ours: turn(torch.cat(ours)))


def boxed(name: str, dims: int = 1) -> Move:
    """Theirs has `dims` more dimensions of length 1 in front (ours has, where negative)."""
    one = (1,) * abs(dims)

    def box(x: Tensor) -> Tensor:
        return x.reshape(one + tuple(x.shape))

    def open_(x: Tensor) -> Tensor:
        return x.reshape(x.shape[len(one) :])

    if dims < 0:
        return Move((name,), lambda theirs: [box(theirs)], lambda ours: open_(ours[0]))
    return Move((name,), lambda theirs: [open_(theirs)], lambda ours: box(ours[0]))


def expand(names: Names, layers: int | Iterable[tuple[int, int]]) -> dict[str, Move]:
    """The table with `{i}` written out, for so many layers or for pairs (their layer, our layer)."""
    pairs = [(i, i) for i in range(layers)] if isinstance(layers, int) else list(layers)
    out: dict[str, Move] = {}
    for theirs, entry in names.items():
        move = Move((entry,)) if isinstance(entry, str) else entry
        for i, j in pairs if "{i}" in theirs else [(0, 0)]:
            ours = tuple(name.replace("{i}", str(j)) for name in move.ours)
            out[theirs.replace("{i}", str(i))] = Move(ours, move.split, move.join)
    return out


def inside(table: Mapping[str, Move], prefix: str, ours: Mapping[str, str]) -> dict[str, Move]:
    """The table of a model that is a part of another: their names after a prefix, ours with other beginnings."""

    def renamed(name: str) -> str:
        old = next(beginning for beginning in ours if name.startswith(beginning))
        return ours[old] + name.removeprefix(old)

    return {prefix + n: Move(tuple(map(renamed, m.ours)), m.split, m.join) for n, m in table.items()}


def to_ours(table: Mapping[str, Move], state: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """Our tensors from theirs. Raises InputError for tensors that are missing or left over, naming the first five."""
    report(sorted(set(table) - set(state)), sorted(set(state) - set(table)), where)
    out: dict[str, Tensor] = {}
    for theirs, move in table.items():
        out.update(zip(move.ours, move.split(state[theirs]), strict=True))
    return out


def to_theirs(table: Mapping[str, Move], state: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """Their tensors from ours. Raises InputError for tensors that are missing or left over, naming the first five."""
    known = {name for move in table.values() for name in move.ours}
    report(sorted(known - set(state)), sorted(set(state) - known), where)
    return {theirs: move.join([state[n] for n in move.ours]).contiguous() for theirs, move in table.items()}


def report(missing: list[str], extra: list[str], where: str) -> None:
    """Raise InputError if there is anything to report."""
    text = [f"missing: {', '.join(missing[:5])} ({len(missing)} in all)"] if missing else []
    text += [f"left over: {', '.join(extra[:5])} ({len(extra)} in all)"] if extra else []
    if text:
        raise InputError(f"{where}: not the tensors that the settings ask for\n  " + "\n  ".join(text))
