"""To and from Hugging Face folders: one file a `model_type`, one table of names and one of settings, read both ways.

Nothing here imports transformers, except `check`, which compares the scores of both where it is installed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from modeledge.core import InputError, find, kinds, nearest
from modeledge.interop._check import Check, compare
from modeledge.interop._folder import Aside, read_config, read_tensors, write_files
from modeledge.interop._pictures import PICTURES, read_pictures, write_pictures
from modeledge.interop._port import Port, same_backbone
from modeledge.interop._settings import complete, differences

__all__ = [
    "Check",
    "Imported",
    "check",
    "export_folder",
    "from_hf",
    "import_folder",
    "model_types",
    "port_of",
    "read_config",
    "to_hf",
]


@dataclass
class Imported:
    """A model read from a Hugging Face folder.

    type      its model_type
    backbone  and `objectives`: these keys of a recipe
    facts     vocab, special ids and labels, as far as the configuration knows them
    state     tensors named backbone.* and objectives.<kind>.*
    fresh     beginnings of the names of tensors that these objectives have and the folder does not"""

    type: str
    backbone: dict[str, Any]
    objectives: list[dict[str, Any]]
    facts: dict[str, Any]
    state: dict[str, Tensor]
    fresh: tuple[str, ...] = ()


def model_types() -> tuple[str, ...]:
    """The model types that can be read and written."""
    return kinds("interop")


def port_of(model_type: str, *, where: str) -> Port:
    """The tables of a model type. Raises InputError for one that is not known, naming the nearest."""
    kind = str(model_type).replace("-", "_")
    if kind not in model_types():
        close = nearest(str(model_type), model_types())
        hint = f"; did you mean {close!r}?" if close else ""
        known = ", ".join(model_types())
        raise InputError(f"{where}: no model type {model_type!r} here{hint}\n  known: {known}")
    return find("interop", kind)()


def from_hf(config: Mapping[str, Any], state: Mapping[str, Tensor], *, where: str = "config.json") -> Imported:
    """Settings and tensors of ours from theirs.

    Raises InputError for an unknown type, a setting we have no counterpart of, and missing or left-over tensors."""
    port = port_of(config.get("model_type", ""), where=where)
    theirs = port.clean(state)
    try:
        parts = port.found(theirs, config)
        settings = port.settings(config, parts)
        complete(settings["backbone"])
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: not a configuration of a {port.type} model: {reason}") from None
    ours = port.state(settings, parts, theirs)
    fresh = tuple(name for o in settings["objectives"] for name in port.fresh(o))
    return Imported(port.type, settings["backbone"], settings["objectives"], settings["facts"], ours, fresh)


def to_hf(
    tree: Mapping[str, Any], state: Mapping[str, Tensor], facts: Mapping[str, Any], *, model_type: str | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(config.json, tensors) of a recipe's model; without a `model_type`, of the first type that can express it.

    tree: the recipe's `backbone` and `objectives`; facts: vocab, special, labels. Raises InputError if no type can, or
    if the model has tensors that the type has no place for."""
    config, tensors, _ = export(tree, state, facts, model_type=model_type)
    return config, tensors


Folder = tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]


def export(
    tree: Mapping[str, Any], state: Mapping[str, Tensor], facts: Mapping[str, Any], *, model_type: str | None
) -> Folder:
    """`to_hf`, and the same for the folders inside the folder (the generator of ELECTRA), by name."""
    if model_type is not None:
        return _export(port_of(model_type, where="--type"), tree, state, facts)
    ports = [port_of(name, where="--type") for name in ORDER]
    reasons = []
    for port in (p for p in ports if p.same["kind"] == tree["backbone"]["kind"]):
        try:
            return _export(port, tree, state, facts)
        except InputError as error:
            reasons.append(" ".join(str(error).split()))
    reasons = reasons or [f"none has a backbone of kind {tree['backbone']['kind']!r}"]
    raise InputError("no Hugging Face model type can express this model\n  " + "\n  ".join(reasons))


ORDER = "bert electra albert roberta roberta_prelayernorm xlm_roberta xlm mpnet gpt2 openai_gpt".split()
ORDER += "t5 bart mbart pegasus marian xlnet ernie vit clip dpr rag resnet".split()
"""The order of trying: the plainest type that can express a model is taken."""


def _export(port: Port, tree: Mapping[str, Any], state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Folder:
    backbone = complete(tree["backbone"])
    if backbone["kind"] != port.same["kind"]:
        raise InputError(f"{port.type}: backbone.kind: {backbone['kind']!r}, there only {port.same['kind']!r}")
    if not set(backbone.get("towers", ())) <= set(port.towers):
        found, known = (" and ".join(names) for names in (backbone["towers"], port.towers))
        raise InputError(f"{port.type}: backbone.towers: {found}, there only {known}")
    objectives = [find("objectives", o["kind"]).Config.model_validate(dict(o)).model_dump() for o in tree["objectives"]]
    full = {"backbone": backbone, "objectives": objectives}
    ours, more = port.companions(full, by_kind(state, objectives))
    backbone, ours = port.prepare(backbone, facts, ours)
    parts = port.has(full, ours)
    config = port.config(backbone, parts, facts)
    same_backbone(port, backbone, port.settings(config, parts)["backbone"])
    same_heads(port, full, config, parts)
    tensors = port.tensors(backbone, parts, ours)
    again = port.state({"backbone": backbone}, parts, port.clean(tensors))
    assert again.keys() == ours.keys() and all(equal(again[n], ours[n]) for n in ours), "the table loses something"
    config |= port.told(objectives)
    inner = {name: export(t, s, facts, model_type=port.inner[name]) for name, (t, s) in more.items()}
    return config, tensors, inner


def equal(a: Tensor, b: Tensor) -> bool:
    """The same values in the same places, not-a-number included."""
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def by_kind(state: Mapping[str, Tensor], objectives: list[dict[str, Any]]) -> dict[str, Tensor]:
    """The tensors with each objective under its kind instead of its name."""
    out = dict(state)
    for o in objectives:
        old, new = f"objectives.{o.get('name') or o['kind']}.", f"objectives.{o['kind']}."
        if old != new:
            out = {new + n.removeprefix(old) if n.startswith(old) else n: t for n, t in out.items()}
    return out


def same_heads(port: Port, tree: Mapping[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
    """Raise InputError where a head has settings that the model type cannot express."""
    norm = tree["backbone"].get("norm")
    for o in tree["objectives"]:
        wanted = port.objective(o["kind"], config, parts).get("head") if o["kind"] in parts else None
        if wanted is None:
            continue
        there = find("heads", wanted["kind"]).Config.model_validate(wanted).model_dump()
        pair = [
            {**h, "norm": h.get("norm") or norm, "dropout": None, "start": None} for h in (o.get("head") or {}, there)
        ]
        if pair[0].get("transform") == "none":
            pair = [{**h, "norm": None, "activation": None} for h in pair]
        if lost := differences(pair[0], pair[1]):
            raise InputError(f"{port.type}: objective {o['kind']}: head: cannot be written\n  " + "\n  ".join(lost[:5]))


def import_folder(folder: Path) -> Imported:
    """Read a Hugging Face folder, and the folders inside it that belong to the same model.

    Raises InputError for anything that is not one, pickled weights, and models that bring code."""
    folder = Path(folder)
    found = from_hf(read_config(folder), read_tensors(folder), where=str(folder / "config.json"))
    if (folder / PICTURES).is_file():
        found.backbone = complete(found.backbone)
        read_pictures(folder, found.backbone)
    port = port_of(found.type, where=str(folder))
    for name in port.inner:
        if (folder / name).is_dir():
            found = port.merge(found, import_folder(folder / name))
    return found


def export_folder(
    folder: Path,
    tree: Mapping[str, Any],
    state: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    *,
    model_type: str | None = None,
    tokenizer: Any = None,
) -> str:
    """Write a folder that transformers opens, whole or not at all; returns its model type.

    `tokenizer.save(folder)` adds the tokenizer's files. Raises InputError as `to_hf` does, and for a folder in use."""
    config, tensors, inner = export(tree, state, facts, model_type=model_type)
    with Aside(Path(folder)) as place:
        write_files(place, config, tensors)
        write_pictures(place, complete(tree["backbone"]), facts)
        for name, (c, t, _) in inner.items():
            write_files(place / name, c, t)
        for name in () if tokenizer is None else port_of(config["model_type"], where="--type").tokenizers:
            (place / name).mkdir(exist_ok=True)
            tokenizer.save(place / name)
    return config["model_type"]


def check(folder: Path, *, seed: int = 0) -> Check:
    """Compare our scores with those of transformers on a random batch; of every folder inside too, the worst counts."""
    folder = Path(folder)
    found = from_hf(read_config(folder), read_tensors(folder), where=str(folder / "config.json"))
    port = port_of(found.type, where=str(folder))
    made = compare(folder, found, port, seed=seed)
    inner = [check(folder / name, seed=seed) for name in port.inner if (folder / name).is_dir()]
    return min([made, *inner], key=lambda c: (c.ok, math.inf if c.difference is None else -c.difference))
