"""Read YAML as data: no tags, no anchors, no repeated keys, and scalars that mean what they look like.

PyYAML alone reads `1e-4` as text, `on` as True and `12:30:00` as 45000, and keeps the last of two equal keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from modeledge.core import RecipeError

DEPTH, NODES = 64, 100_000
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C where PyYAML has it, ten times as fast; which of the two makes no difference to what is read."""
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
    """One document of `file`, event by event: whatever is not plain data is refused where it stands."""

    def __init__(self, text: str, file: str):
        self.file, self.nodes = file, 0
        self.events: Iterator[Any] = yaml.parse(text, Loader=LOADER)
        self.places: dict[Path_, Place] = {}

    def fail(self, event: Any, text: str) -> RecipeError:
        return RecipeError(f"{place_of(self.file, event.start_mark)}: {text}")

    def document(self) -> Any:
        """The value of the only document; None if there is none."""
        next(self.events)  # the stream begins
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return None
        value = self.value(next(self.events), ())
        next(self.events)  # the document ends
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self.fail(after, "not valid YAML: a second document begins; a recipe is one")
        return value

    def value(self, event: Any, path: Path_) -> Any:
        """The value that begins with `event`."""
        self.nodes += 1
        if self.nodes > NODES or len(path) > DEPTH:
            raise self.fail(event, f"too large for a recipe (at most {DEPTH} levels and {NODES} values)")
        if isinstance(event, yaml.AliasEvent):
            raise self.fail(event, "anchors and aliases are not allowed; use `extends`")
        if event.tag is not None and (not event.tag.startswith("tag:yaml.org,2002:") or "python" in event.tag):
            raise self.fail(event, f"tags are not allowed, found {event.tag!r}; a recipe is data only")
        self.places[path] = place_of(self.file, event.start_mark)
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return [self.value(child, (*path, i)) for i, child in enumerate(self.until(yaml.SequenceEndEvent))]
        return event.value if event.style else scalar(event.value)  # no style: neither quoted nor a block

    def mapping(self, path: Path_) -> dict[str, Any]:
        """The keys and values up to the end of a mapping that has begun."""
        out: dict[str, Any] = {}
        for key in self.until(yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise self.fail(key, "a key must be a plain word")
            if key.value in out:
                raise self.fail(key, f"the key {key.value!r} is repeated in {show_path(path)}; keep one of them")
            out[key.value] = self.value(next(self.events), (*path, key.value))
            self.places[(*path, key.value)] = place_of(self.file, key.start_mark)
        return out

    def until(self, end: type) -> Iterator[Any]:
        """Events up to the next one of kind `end` at this level; who takes one takes all that belongs to it."""
        for event in self.events:
            if isinstance(event, end):
                return
            yield event


def read_yaml(text: str, *, file: str) -> tuple[Any, dict[Path_, Place]]:
    """The value of a YAML text and the place of each of its keys.

    Raises RecipeError with file, line and column for anything that is not plain data."""
    reader = _Reader(text, file)
    try:
        return reader.document(), reader.places
    except yaml.MarkedYAMLError as error:
        where = place_of(file, error.problem_mark) if error.problem_mark else file
        raise RecipeError(f"{where}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{file}: not valid YAML: {error}") from None


def read_file(path: Path) -> tuple[Any, dict[Path_, Place]]:
    """`read_yaml` of a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start}); is it a recipe?") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    return read_yaml(text, file=str(path))
