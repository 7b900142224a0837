"""Recipes beside each other: what differs, who extends whom, where each value came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modeledge.recipe.read import Path_, read_file, show_path
from modeledge.recipe.resolve import Tree, shipped

ABOUT = {"source", "expect", "sizes", "family"}
"""Keys that describe a recipe or its variants, not what it does."""


def leaves(tree: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every leaf of a tree with its path; an empty mapping or list is a leaf."""
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list) and tree and any(isinstance(x, dict) for x in tree):
        for i, value in enumerate(tree):
            yield from leaves(value, (*path, i))
    else:
        yield path, tree


def by_name(keys: dict[str, Any]) -> dict[str, Any]:
    """The same tree with the list of objectives as a mapping, so that a dropped objective is one line of a diff."""
    out = dict(keys)
    items = out.get("objectives", [])
    out["objectives"] = {o.get("name") or o.get("kind") if isinstance(o, dict) else str(o): o for o in items}
    return out


def diff(left: Tree, right: Tree) -> list[tuple[str, Any, Any]]:
    """(path, in the left, in the right) wherever two recipes differ in what they do; None where a side has nothing.

    A part present on one side only, or of another kind, is one line by its kind and settings; so are several plain
    settings of one part."""
    a = {k: v for k, v in by_name(left.keys).items() if k not in ABOUT}
    b = {k: v for k, v in by_name(right.keys).items() if k not in ABOUT}
    return [(show_path(path), one, two) for path, one, two in _together(list(_diff(a, b, ())))]


def _together(rows: list[tuple[Path_, Any, Any]]) -> Iterator[tuple[Path_, Any, Any]]:
    """Rows of plain settings of the same part as one row, at the place of the first."""

    def plain(row: tuple[Path_, Any, Any]) -> bool:
        return len(row[0]) > 1 and not any(isinstance(side, dict) for side in row[1:])

    done: set[Path_] = set()
    for row in rows:
        above = row[0][:-1]
        family = [r for r in rows if plain(r) and r[0][:-1] == above] if plain(row) and above != ("objectives",) else []
        if len(family) < 2:
            yield row
        elif above not in done:
            done.add(above)
            sides = [{str(r[0][-1]): r[i] for r in family if r[i] is not None} for i in (1, 2)]
            yield above, sides[0] or None, sides[1] or None


def _diff(a: Any, b: Any, path: Path_) -> Iterator[tuple[Path_, Any, Any]]:
    if isinstance(a, str) and isinstance(b, dict):
        a = {"kind": a}
    if isinstance(b, str) and isinstance(a, dict):
        b = {"kind": b}
    if isinstance(a, dict) and isinstance(b, dict) and a.get("kind") == b.get("kind"):
        for key in [*a, *(k for k in b if k not in a)]:
            yield from _diff(a.get(key), b.get(key), (*path, key))
    elif a != b:
        yield path, a, b


def brief(value: Any) -> str:
    """A value in one line: a part as its kind and settings."""
    if value is None:
        return "-"
    if isinstance(value, dict):
        rest = ", ".join(f"{k}: {brief(v)}" for k, v in value.items() if k != "kind")
        kind = value.get("kind")
        return (f"{kind} ({rest})" if rest else str(kind)) if kind else "{" + rest + "}"
    if isinstance(value, list):
        return "[" + ", ".join(brief(v) for v in value) + "]"
    return str(value)


def explain(tree: Tree) -> list[tuple[str, str, str]]:
    """(path, value, file:line that set it) for every leaf of a recipe."""
    rows = []
    for path, value in leaves({k: v for k, v in tree.keys.items() if k not in ("sizes",)}):
        place = tree.place(path)
        file = f"{place.file}:{place.line}" if place and place.line else str(place or "")
        rows.append((show_path(path), brief(value), file.rsplit("/recipes/", 1)[-1]))
    return rows


def catalogue() -> list[dict[str, str]]:
    """Name, family, parent and source of every shipped recipe, read without resolving them."""
    rows = []
    for name, path in shipped().items():
        keys, _ = read_file(path)
        rows.append(
            {
                "name": name,
                "family": str(keys.get("family", "")),
                "extends": str(keys.get("extends") or ""),
                "source": str(keys.get("source", "")),
            }
        )
    names = {r["name"]: r for r in rows}
    for row in rows:  # the family is inherited like any key
        above = row
        while not row["family"] and above["extends"] in names:
            above = names[above["extends"]]
            row["family"] = above["family"]
    return rows


def lineage() -> list[str]:
    """The tree of `extends`, one indented line a recipe."""
    rows = catalogue()
    children: dict[str, list[str]] = {}
    for row in rows:
        children.setdefault(row["extends"], []).append(row["name"])

    def walk(name: str, depth: int) -> Iterator[str]:
        yield "  " * depth + name
        for child in sorted(children.get(name, [])):
            yield from walk(child, depth + 1)

    return [line for root in sorted(children.get("", [])) for line in walk(root, 0)]
