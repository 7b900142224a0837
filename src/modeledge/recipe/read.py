"""Read YAML as data: no tags, no anchors, no repeated keys, and scalars that mean what they look like.

PyYAML alone reads `1e-4` as text, `on` as True and `12:30:00` as 45000, and keeps the last of two equal keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from modeledge.core import RecipeError

DEPTH, NODES = 64, 100_000
_NUMBER = re.compile(r"[-+]?(\d[\d_]*)(\.[\d_]*)?([eE][-+]?\d+)?$|[-+]?\.\d+([eE][-+]?\d+)?$")
_INTEGER = re.compile(r"[-+]?(0|[1-9][\d_]*)$")


class Place(NamedTuple):
    """Where a value was written."""

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


def place_of(file: str, mark: Any) -> Place:
    """What a mark of PyYAML, which counts from 0, means to people."""
    return Place(file, mark.line + 1, mark.column + 1)


Path_ = tuple[str | int, ...]


def show_path(path: Path_) -> str:
    """('objectives', 0, 'kind') as objectives[0].kind."""
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return text.removeprefix(".") or "(top)"


def scalar(text: str) -> Any:
    """A plain scalar: null, true, false, a number, or the text itself. Nothing else is special."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.match(text):
        return int(text.replace("_", ""))
    if _NUMBER.match(text) and not re.match(r"[-+]?0\d", text):
        return float(text.replace("_", ""))
    return text


class _Reader:
    def __init__(self, file: str):
        self.file, self.nodes = file, 0
        self.places: dict[Path_, Place] = {}

    def fail(self, node: Any, text: str) -> RecipeError:
        return RecipeError(f"{place_of(self.file, node.start_mark)}: {text}")

    def value(self, node: yaml.Node, path: Path_) -> Any:
        self.nodes += 1
        if self.nodes > NODES or len(path) > DEPTH:
            raise self.fail(node, f"too large for a recipe (at most {DEPTH} levels and {NODES} values)")
        if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
            raise self.fail(node, f"tags are not allowed, found {node.tag!r}; a recipe is data only")
        self.places[path] = place_of(self.file, node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return scalar(node.value) if plain else node.value

    def mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.fail(key, "a key must be a plain word")
            if key.value in out:
                raise self.fail(key, f"the key {key.value!r} is repeated in {show_path(path)}; keep one of them")
            out[key.value] = self.value(child, (*path, key.value))
            self.places[(*path, key.value)] = place_of(self.file, key.start_mark)
        return out


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise RecipeError(f"{place_of(mark.name, mark)}: anchors and aliases are not allowed; use `extends`")
        return super().compose_node(parent, index)


def _too_deep(text: str) -> bool:
    depth = worst = 0
    for char in text:
        depth += (char in "[{") - (char in "]}")
        worst = max(worst, depth)
    return worst > DEPTH


def read_yaml(text: str, *, file: str) -> tuple[Any, dict[Path_, Place]]:
    """The value of a YAML text and the place of each of its keys.

    Raises RecipeError with file, line and column for anything that is not plain data."""
    if _too_deep(text):
        raise RecipeError(f"{file}: nested deeper than {DEPTH} levels")
    try:
        loader = _Loader(text)
        loader.name = file
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        where = place_of(file, error.problem_mark) if error.problem_mark else file
        raise RecipeError(f"{where}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{file}: not valid YAML: {error}") from None
    if node is None:
        return None, {}
    reader = _Reader(file)
    return reader.value(node, ()), reader.places


def read_file(path: Path) -> tuple[Any, dict[Path_, Place]]:
    """`read_yaml` of a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start}); is it a recipe?") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    return read_yaml(text, file=str(path))
