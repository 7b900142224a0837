"""Model folders: config.json, model.safetensors, tokenizer.json, README.md. What `load` opens and `export` converts."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from modeledge.core import Facts, InputError
from modeledge.data._names import ENTITIES, read_names, write_names
from modeledge.recipe.resolve import Tree, override
from modeledge.recipe.schema import Recipe, check
from modeledge.run.checkpoint import own_tensors, set_tensors, write_folder
from modeledge.run.model import Model, make_model, parameter_count
from modeledge.tokenizers import load_tokenizer

FORMAT = 1


@dataclass
class Loaded:
    """A model read from a folder, ready to use, with everything it was saved with."""

    path: Path
    model: Model
    recipe: Recipe
    tree: Tree
    facts: Facts
    history: dict[str, Any]

    @property
    def place(self) -> torch.device:
        """Where its weights are, and what it reads has to be."""
        return next(self.model.parameters()).device


def facts_to_json(facts: Facts) -> dict[str, Any]:
    """The part of the facts a model needs to be built again (not the counts, which belong to a store)."""
    return {
        "vocab": facts.vocab,
        "special": facts.special,
        "words": list(facts.words),
        "sentinels": list(facts.sentinels),
        "labels": facts.labels,
        "image": list(facts.image) if facts.image else None,
        "entities": facts.entities,
        "relations": facts.relations,
    }


def facts_from_json(keys: dict[str, Any], tokenizer: Any = None) -> Facts:
    """The reverse; what depends on the tokenizer's strings comes from the tokenizer."""
    image = keys.get("image")
    return Facts(
        vocab=keys["vocab"],
        special=dict(keys["special"]),
        words=(keys["words"][0], keys["words"][1]),
        sentinels=list(keys["sentinels"]),
        labels=dict(keys["labels"]),
        image=(image[0], image[1], image[2]) if image else None,
        entities=keys.get("entities", 0),
        relations=keys.get("relations", 0),
        continues=None if tokenizer is None else _as_flags(tokenizer),
        tokenizer=tokenizer,
    )


def _as_flags(tokenizer: Any) -> np.ndarray | None:
    flags = getattr(tokenizer, "continues", None)
    return None if flags is None else np.asarray(flags, bool)


def save_model(target: Path, model: Model, tree: Tree, facts: Facts, *, history: dict[str, Any]) -> None:
    """Write a model folder. `history` says what it was trained on and what was measured; it becomes the model card."""

    def write(folder: Path) -> None:
        keys = {k: v for k, v in tree.keys.items() if k != "sizes"}
        config = {
            "model_type": "modeledge",
            "modeledge": {
                "format": FORMAT,
                "name": tree.name,
                "recipe": keys,
                "facts": facts_to_json(facts),
                "history": history,
            },
        }
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        save_file({k: v.cpu() for k, v in own_tensors(model).items()}, folder / "model.safetensors")
        if facts.tokenizer is not None:
            facts.tokenizer.save(folder)
        if facts.names:
            write_names(folder, facts.names)
        (folder / CARD).write_text(card(tree, model, history), encoding="utf-8")

    write_folder(target, write)


CARD = "README.md"
"""The model card: for people, who may edit it."""


def refuse_damage(folder: Path) -> None:
    """Raise InputError naming a file of a model folder that is not as `save_model` wrote it.

    Files may be added and the card edited; a folder whose manifest was left behind is taken as it is."""
    manifest = folder / "MANIFEST.json"
    if not manifest.is_file():
        return
    problem = ""
    try:
        files = {n: entry["sha256"] for n, entry in json.loads(manifest.read_text())["files"].items() if n != CARD}
        for name, wanted in files.items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != wanted:
                    problem = problem or f"{name} was changed after it was written (SHA-256 differs)"
    except (ValueError, KeyError, TypeError, AttributeError):
        problem = f"{manifest.name} is not what was written"
    except OSError as error:
        problem = f"{Path(error.filename or manifest).name}: {error.strerror}"
    if problem:
        raise InputError(
            f"{folder}: this model folder is damaged: {problem}\n"
            "  next: copy it again, or go on with a checkpoint of its run; remove MANIFEST.json if you meant the change"
        )


def load_model(path: Path, *, sets: Sequence[str] = ()) -> Loaded:
    """Open a model folder, or the last model of a run folder; `sets`: overrides of its recipe (objectives.0.lang=1).

    Raises InputError for anything that is not one, naming what is wrong."""
    path = Path(path)
    folder = path / "model" if (path / "model" / "config.json").is_file() else path
    if not (folder / "config.json").is_file():
        if (path / "recipe.yaml").is_file():
            raise InputError(f"{path}: this run has no finished model yet\n  next: finish it with --resume")
        raise InputError(
            f"{path}: not a model folder (no config.json)\n"
            "  next: give a run folder, a model folder, or `modeledge import` a Hugging Face one"
        )
    refuse_damage(folder)
    try:
        config = json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise InputError(f"{folder / 'config.json'}: not valid JSON: {error}") from None
    ours = config.get("modeledge")
    if ours is None:
        kind = config.get("model_type")
        raise InputError(
            f"{folder}: a Hugging Face folder (model_type {kind!r})\n  next: `modeledge import {folder} --out FOLDER`"
        )
    if ours["format"] > FORMAT:
        raise InputError(f"{folder}: written by a newer version (format {ours['format']}; this one reads {FORMAT})")
    tokenizer = load_tokenizer(folder) if (folder / "tokenizer.json").is_file() else None
    tree = Tree(ours["name"], functools.reduce(lambda keys, text: override(keys, text, {}), sets, ours["recipe"]))
    recipe, facts = check(tree), facts_from_json(ours["facts"], tokenizer)
    model = make_model(recipe, facts, seed=0)
    facts.names = read_names(folder) if (folder / ENTITIES).is_file() else []
    try:
        set_tensors(model, load_file(folder / "model.safetensors"), where=str(folder / "model.safetensors"))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{folder / 'model.safetensors'}: cannot be read: {error}") from None
    return Loaded(folder, model.eval(), recipe, tree, facts, ours["history"])


def card(tree: Tree, model: Model, history: dict[str, Any]) -> str:
    """The model card: front matter as the hubs read it, then what was done and measured."""
    lines = ["---", "library_name: modeledge", f"tags: [modeledge, {tree.name}]", "license: other", "---", ""]
    lines += [
        f"# {tree.name}",
        "",
        f"{parameter_count(model):,} parameters, trained with modeledge from the recipe `{tree.name}`.",
    ]
    if tree.keys.get("source"):
        lines += [f"Method: {tree.keys['source']}."]
    for title, value in history.items():
        lines += ["", f"## {title}", ""]
        lines += [f"- {k}: {v}" for k, v in value.items()] if isinstance(value, dict) else [str(value)]
    return "\n".join(lines) + "\n"
