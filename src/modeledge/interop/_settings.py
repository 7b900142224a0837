"""One table of settings, read in both directions: a key of config.json and the places in a backbone's settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modeledge.core import InputError, find

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_tanh": "gelu_new",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "tanh": "tanh",
}
SYNONYMS = {"gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new", "swish": "silu"}


@dataclass(frozen=True)
class Key:
    """A key of config.json and where it stands in our settings (both dotted), and what it means when it is absent."""

    theirs: str
    ours: str | tuple[str, ...]
    absent: Any = None
    values: Mapping[Any, Any] | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """Our places as a tuple; all hold the same value."""
        return (self.ours,) if isinstance(self.ours, str) else self.ours


def activation(theirs: str, ours: str | tuple[str, ...], absent: str) -> Key:
    """A key that names a non-linearity."""
    return Key(theirs, ours, absent, ACTIVATIONS)


def below(path: str, keys: Iterable[Key]) -> tuple[Key, ...]:
    """The same keys of a part of the backbone."""
    return tuple(replace(key, ours=tuple(f"{path}.{place}" for place in key.places)) for key in keys)


def place(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where the path ends early."""
    for step in path.split("."):
        if tree is None or step not in tree:
            return None
        tree = tree[step]
    return tree


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path, making what is on the way."""
    *way, last = path.split(".")
    for step in way:
        tree = tree.setdefault(step, {})
    tree[last] = value


def read(keys: Iterable[Key], config: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Our settings from theirs. Raises InputError for a value we have no counterpart of."""
    out: dict[str, Any] = {}
    for key in keys:
        value = place(config, key.theirs)
        value = key.absent if value is None else value
        if key.values is not None:
            back = {theirs: ours for ours, theirs in key.values.items()}
            value = SYNONYMS.get(value, value)
            if value not in back:
                raise InputError(
                    f"{where}: {key.theirs}: {value!r} is not supported\n  known: {', '.join(map(str, back))}"
                )
            value = back[value]
        for path in key.places:
            put(out, path, value)
    return out


def write(keys: Iterable[Key], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Their settings from ours; where several of our places share a key the first one counts."""
    out: dict[str, Any] = {}
    for key in keys:
        value = place(settings, key.places[0])
        put(out, key.theirs, value if key.values is None else key.values.get(value, value))
    return out


def complete(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """A backbone's settings with every default written out, sizes that follow from others included."""
    full = find("backbones", backbone["kind"]).Config.model_validate(dict(backbone)).model_dump()
    for tower in (full, *(full.get("towers") or {}).values(), full.get("reader")):
        if tower and tower["kind"] in ("transformer", "encoder_decoder"):
            _derive(tower)
    return full


def _derive(full: dict[str, Any]) -> None:
    full["head_width"] = full["head_width"] or full["width"] // full["heads"]
    full["groups"] = full["groups"] if full["share"] != "none" else 1
    if "decoder_layers" in full:
        full["decoder_layers"] = full["decoder_layers"] or full["layers"]
    if full["ffn"].get("width", 0) is None:
        full["ffn"]["width"] = 4 * full["width"]
    if full["embedding"].get("dropout", 0.0) is None:
        full["embedding"]["dropout"] = full["dropout"]
    if full["attention"].get("scale", 0.0) is None:
        full["attention"]["scale"] = full["head_width"] ** -0.5


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two trees of settings differ: `path: this, that`."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = [*one, *(k for k in other if k not in one)]
        return [d for k in keys for d in differences(one.get(k), other.get(k), f"{path}.{k}" if path else k)]
    return [] if one == other else [f"{path}: {one!r}, there only {other!r}"]
