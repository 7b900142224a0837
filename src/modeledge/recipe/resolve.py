"""From a name to one final tree: follow `extends`, lay the size and the overrides over it, remember who set what."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeledge.core import RecipeError, unknown
from modeledge.recipe.read import Path_, Place, read_file, read_yaml, scalar, show_path

CHAIN = 4
KEYS = "extends family source data tokenizer backbone objectives mix optim schedule".split()
KEYS += "unfreeze loop sizes stages expect".split()
SHIPPED = Path(__file__).parent.parent / "recipes"


@dataclass
class Tree:
    """A recipe's keys and values after all layers, with the place each came from."""

    name: str
    keys: dict[str, Any]
    places: dict[Path_, Place] = field(default_factory=dict)
    chain: tuple[str, ...] = ()
    size: str | None = None

    def place(self, path: Path_) -> Place | None:
        """Where the value at `path` was written, or its nearest ancestor."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places.get(path)


def shipped() -> dict[str, Path]:
    """Every recipe that comes with the package, by name."""
    return {p.stem: p for p in sorted(SHIPPED.rglob("*.yaml"))}


def find_recipe(name: str, *, where: str = "recipe", near: Path | None = None) -> Path:
    """The file of a recipe given by name or by path (a `.yaml` file).

    Raises RecipeError naming the nearest known recipe."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name) if near is None or Path(name).is_absolute() else near / name
        if near is not None and (Path(name).is_absolute() or ".." in Path(name).parts):
            raise RecipeError(f"{where}: {name!r} leaves the recipe's own folder; put the parent beside it")
        if not path.is_file():
            raise RecipeError(
                f"{where}: there is no file {path}\n  next: `modeledge recipes list` shows the shipped recipes"
            )
        return path
    known = shipped()
    if name not in known:
        raise RecipeError(unknown(where, "recipe", name, known, then="`modeledge recipes list`"))
    return known[name]


def merge(base: Any, over: Any, path: Path_ = (), *, places: dict[Path_, Place], new: dict[Path_, Place]) -> Any:
    """`over` laid over `base`: mappings merge, lists replace, null removes, a changed `kind` drops its siblings.

    A kind may be written as a plain word on either side. `places` follows."""
    if isinstance(base, str) and isinstance(over, dict) and "kind" not in over:
        base = {"kind": base}
    if isinstance(base, dict) and "kind" in base and isinstance(over, str):
        over = {"kind": over}
        new = {**new, (*path, "kind"): new[path]} if path in new else new
    if not (isinstance(base, dict) and isinstance(over, dict)):
        _forget(places, path)
        places.update({p: place for p, place in new.items() if p[: len(path)] == path})
        return over
    if "kind" in over and over["kind"] != base.get("kind", over["kind"]):
        _forget(places, path)
        base = {}
    out = dict(base)
    for key, value in over.items():
        here = (*path, key)
        if value is None:
            out.pop(key, None)
            _forget(places, here)
        elif key in out:
            out[key] = merge(out[key], value, here, places=places, new=new)
        else:
            out[key] = value
            places.update({p: place for p, place in new.items() if p[: len(here)] == here})
    return out


def _forget(places: dict[Path_, Place], path: Path_) -> None:
    for known in [p for p in places if p[: len(path)] == path]:
        del places[known]


def _layers(path: Path, seen: tuple[Path, ...]) -> list[tuple[str, dict[str, Any], dict[Path_, Place]]]:
    name, way = path.stem, " -> ".join(p.stem for p in (*seen, path))
    if path.resolve() in [p.resolve() for p in seen]:
        raise RecipeError(f"{path}: `extends` goes in a circle: {way}")
    if len(seen) >= CHAIN:
        raise RecipeError(f"{path}: `extends` is a chain of more than {CHAIN}: {way}")
    keys, places = read_file(path)
    if not isinstance(keys, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys, found {type(keys).__name__}")
    for key in keys:
        if key not in KEYS:
            raise RecipeError(unknown(f"{places[(key,)]}: {key}", "key", key, KEYS))
    parent = keys.pop("extends", None)
    if parent is None:
        return [(name, keys, places)]
    where = f"{places[('extends',)]}: extends"
    if not isinstance(parent, str):
        raise RecipeError(f"{where}: one parent, by name; found {parent!r}")
    above = find_recipe(parent, where=where, near=path.parent)
    return [*_layers(above, (*seen, path)), (name, keys, places)]


def resolve(recipe: str, *, size: str | None = None, sets: Iterable[str] = ()) -> Tree:
    """The final tree of a recipe: its chain of parents, then the size, then the overrides `a.b=c`.

    Raises RecipeError with file and line (or the override) for anything wrong. Nothing is imported or executed."""
    path = find_recipe(recipe)
    layers = _layers(path, ())
    keys: dict[str, Any] = {}
    places: dict[Path_, Place] = {}
    for _, layer, found in layers:
        keys = merge(keys, layer, places=places, new=found)
    sizes = keys.get("sizes") or {}
    if size is not None:
        if size not in sizes:
            raise RecipeError(unknown("--size", f"size of {path.stem}", size, sizes))
        prefix = ("sizes", size)
        found = {p[2:]: place for p, place in places.items() if p[:2] == prefix}
        if not isinstance(sizes[size], dict):
            where = places.get(prefix, path)
            raise RecipeError(f"{where}: sizes.{size}: a mapping of keys, found {sizes[size]!r}")
        overlay = copy.deepcopy(sizes[size])  # a list in two places of one tree would be written as a YAML alias
        keys = merge(keys, overlay, places=places, new=found)
    for text in sets:
        keys = override(keys, text, places)
    return Tree(path.stem, keys, places, tuple(name for name, _, _ in reversed(layers)), size)


def override(keys: dict[str, Any], text: str, places: dict[Path_, Place]) -> dict[str, Any]:
    """One `a.b=c` written into the tree; list items by number (`objectives.0.rate=0.3`). A stage that gives the key a
    value of its own is overridden too: what is asked for by hand holds for the whole run."""
    if "=" not in text:
        raise RecipeError(f"--set {text}: write it as key.path=value, e.g. --set optim.lr=3e-4")
    left, _, right = text.partition("=")
    path: Path_ = tuple(int(p) if p.isdigit() else p for p in re.split(r"[.\[\]]+", left.strip()) if p)
    if not path or path[0] not in KEYS:
        raise RecipeError(unknown(f"--set {text}", "key", str(path[0]) if path else "", KEYS))
    value = read_yaml(right, file=f"--set {left}")[0] if right[:1] in "[{\"'" else scalar(right.strip())
    source = Place(f"--set {text}", 0)
    keys = _set(keys, path, value, at=(), places=places, source=source)
    stages = keys.get("stages")
    if path[0] == "stages" or not isinstance(stages, list):
        return keys
    changed = [
        _set(stage, path, value, at=("stages", i), places=places, source=source) if _gives(stage, keys, path) else stage
        for i, stage in enumerate(stages)
    ]
    return {**keys, "stages": changed}


def _gives(stage: Any, base: Any, path: Path_) -> bool:
    """Whether a stage's overlay says something of its own of what `path` means in the base: not of an item of a list
    that is of another kind there, and not where it takes the whole away."""
    for step in path:
        if isinstance(stage, dict) and isinstance(base, dict) and step in stage:
            stage, base = stage[step], base.get(step)
        elif isinstance(stage, list) and isinstance(base, list) and isinstance(step, int):
            return step < min(len(stage), len(base)) and _kind(stage[step]) == _kind(base[step])
        else:
            return isinstance(step, str) and isinstance(stage, str)  # a kind in one word
    return stage is not None


def _kind(item: Any) -> Any:
    return item.get("kind") if isinstance(item, dict) else item


def _set(tree: Any, path: Path_, value: Any, *, at: Path_, places: dict[Path_, Place], source: Place) -> Any:
    if not path:
        new = merge(tree, value, at, places=places, new={at: source})
        places[at] = source
        return new
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        if not isinstance(tree, list) or step >= len(tree):
            size = len(tree) if isinstance(tree, list) else 0
            raise RecipeError(f"{source}: {show_path(at)} has {size} items, there is no number {step}")
        return [
            *tree[:step],
            _set(tree[step], rest, value, at=(*at, step), places=places, source=source),
            *tree[step + 1 :],
        ]
    base = {"kind": tree} if isinstance(tree, str) else tree if isinstance(tree, dict) else {}
    here = (*at, step)
    if not rest:
        return merge(base, {step: value}, at, places=places, new={here: source})
    return {**base, step: _set(base.get(step), rest, value, at=here, places=places, source=source)}
