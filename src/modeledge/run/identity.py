"""What a run or a store goes by, and whether a run is continued as what it was: the same recipe, tokenizer and data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modeledge.core import InputError, RecipeError
from modeledge.data.store import Store
from modeledge.data.tables import Table
from modeledge.recipe.compare import brief, diff
from modeledge.recipe.resolve import Tree
from modeledge.run.budget import Budget
from modeledge.tokenizers import load_tokenizer


def data_identity(stores: Mapping[str, Store | Table]) -> dict[str, str]:
    """A digest of what each store was made from, so that a run is not continued on other data."""
    return {
        n: hashlib.sha256(json.dumps(s.meta, sort_keys=True, default=str).encode()).hexdigest()
        for n, s in stores.items()
    }


def weights_identity(tensors: Mapping[str, Tensor]) -> str:
    """A digest of a model's tensors and their names."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def check_identity(before: dict[str, Any], now: dict[str, Any], where: Path) -> None:
    """Raise InputError if a run is continued with another tokenizer or other data, or with other weights to begin with
    than it had, where they are given again."""
    if "init" in now and before.get("init", now["init"]) != now["init"]:
        raise InputError(
            f"{where}: this run began with other weights than are given now\n"
            "  next: give the model it began with, or another --out"
        )
    if before.get("tokenizer") != now.get("tokenizer"):
        raise InputError(
            f"{where}: the run used the tokenizer {before.get('tokenizer')}, the data now has {now.get('tokenizer')}"
        )
    for name, digest in now["data"].items():
        if before["data"].get(name) != digest:
            raise InputError(
                f"{where}: the data of {name!r} has changed since this run began\n"
                "  next: give the same --data, or start a new run with --init"
            )


def refuse_other_budget(decided: list[dict[str, Any]], budget: Budget | None, where: Path) -> None:
    """Raise RecipeError if a run is to be continued for longer, or shorter, than its schedule was made for."""
    before = next((known["budget"] for known in decided if "budget" in known), None)
    if budget is not None and decided and str(budget) != before:
        begun = f"with a budget of {before}" if before else "without --budget"
        raise RecipeError(
            f"{where}: this run was begun {begun}, --budget now says {budget}\n"
            f"  next: leave out --budget to finish it as it was begun, or train on with --init {where} --out ANOTHER"
        )


def refuse_changes(stored: dict[str, Any], tree: Tree, where: Path) -> None:
    """Raise RecipeError listing what differs between a run's recipe and the one it is resumed with."""
    changes = diff(Tree(tree.name, stored), tree)
    if changes:
        lines = "\n".join(f"  {path}: {brief(a)} in the run, {brief(b)} now" for path, a, b in changes)
        raise RecipeError(
            f"{where}: the recipe has changed since this run began\n{lines}\n"
            f"  next: resume with the same recipe, or start a new run with --init {where}"
        )


def refuse_other_ids(store: Any, tokenizer: Any, model: Path | str) -> None:
    """Raise InputError for a store whose ids are not those of the model, naming both tokenizers: ids mean nothing under
    another one, even if it has as many. What a model has learnt on top (GPT's tokens of a task) does no harm."""
    written = store.meta.get("fingerprint") if isinstance(store, Store) else None
    if written is None or tokenizer is None or written == tokenizer.fingerprint:
        return
    home = next((p for p in (store.path, store.path.parent) if (p / "tokenizer.json").is_file()), None)
    own = tokenizer.pieces.tokens
    there = load_tokenizer(home).pieces.tokens if home is not None else None
    if there is None or there != own[: len(there)]:
        raise InputError(
            f"{store.path}: its ids are not those of {model}: they are of the tokenizer {written[:16]}, the model has "
            f"{tokenizer.fingerprint[:16]}\n  next: prepare the data with --tokenizer {model}"
        )


def digest(*things: object) -> str:
    """A few characters that depend on what the things look like."""
    return hashlib.sha256(repr(things).encode()).hexdigest()[:12]
