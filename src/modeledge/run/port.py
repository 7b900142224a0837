"""Model folders to and from Hugging Face's form, as verbs: read or write, check the scores, say what was found."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modeledge.core import Facts, InputError, RunError
from modeledge.interop import Check, Imported, check, export_folder, import_folder, port_of
from modeledge.recipe.resolve import Tree, resolve, shipped
from modeledge.recipe.schema import check as check_recipe
from modeledge.run.checkpoint import own_tensors
from modeledge.run.keep import card, facts_to_json, load_model, save_model
from modeledge.run.model import make_model, parameter_count
from modeledge.tokenizers import load_tokenizer


@dataclass
class Ported:
    """What was written where, and how the scores compare. `fresh`: what the folder did not have, newly initialised."""

    folder: Path
    type: str
    parameters: int
    compared: Check
    fresh: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        compared = {"difference": self.compared.difference, "reason": self.compared.reason}
        rest = {"parameters": self.parameters, "fresh": list(self.fresh)}
        return {"folder": str(self.folder), "type": self.type, "compared": compared, **rest}

    def __str__(self) -> str:
        lines = [f"{self.folder}: {self.type}, {self.parameters:,} parameters", f"  {self.compared}"]
        return "\n".join(
            lines + [f"  not in the folder, newly initialised: {', '.join(self.fresh)}"] * bool(self.fresh)
        )


def export_model(source: str | Path, out: str | Path, *, model_type: str | None = None) -> Ported:
    """Write the model of a run or model folder as a folder that transformers opens.

    Raises InputError if no model type of theirs can express it, RunError if transformers gives other scores."""
    loaded, out = load_model(Path(source)), Path(out)
    facts, state = facts_to_json(loaded.facts), own_tensors(loaded.model)
    if loaded.facts.tokenizer is not None and not loaded.facts.tokenizer.portable:
        raise InputError(
            f"{source}: transformers would give other ids than this model's tokenizer ({loaded.facts.tokenizer.kind})\n"
            "  next: train with a tokenizer that it knows (bpe with `encode: merges`, wordpiece, unigram, ...)"
        )
    kind = export_folder(out, loaded.tree.keys, state, facts, model_type=model_type, tokenizer=loaded.facts.tokenizer)
    (out / "README.md").write_text(card(loaded.tree, loaded.model, loaded.history), encoding="utf-8")
    compared = check(out)
    if not compared.ok:
        shutil.rmtree(out)
        raise RunError(not_the_same(out, compared))
    return Ported(out, kind, parameter_count(loaded.model), compared)


def not_the_same(folder: Path, compared: Check) -> str:
    """What is said of a folder whose scores are not those of transformers."""
    return (
        f"{folder}: {compared}, whose largest score is {compared.size:.3g}\n"
        "  not the same model: nothing was written\n"
        "  next: this is a defect here or in that version of transformers; please report it with config.json"
    )


def import_model(source: str | Path, out: str | Path) -> Ported:
    """Make a model folder of ours from a Hugging Face folder.

    Raises InputError for an unknown type, pickled weights, code in the folder, missing or left-over tensors; RunError
    if transformers gives other scores."""
    source, out = Path(source), Path(out)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: exists and is not empty\n  next: give another --out")
    found = import_folder(source)
    compared = check(source)
    if not compared.ok:
        raise RunError(not_the_same(source, compared))
    tokenizer = load_tokenizer(source) if (source / "tokenizer.json").is_file() else None
    tree, facts = tree_of(found, out), facts_of_import(found, tokenizer)
    model = make_model(check_recipe(tree), facts, seed=0)
    with torch.no_grad():
        for name, tensor in own_tensors(model).items():
            if name in found.state:
                tensor.copy_(found.state[name])
            elif not name.startswith(found.fresh):
                raise InputError(f"{source}: no tensor for {name}")
    save_model(out, model, tree, facts, history={"imported": {"from": source.name, "type": found.type}})
    return Ported(out, found.type, parameter_count(model), compared, found.fresh)


def tree_of(found: Imported, home: Path) -> Tree:
    """The recipe of an imported model that will lie in `home`: that of its type where there is one, with its own
    backbone, objectives and tokenizer."""
    trained = port_of(found.type, where=str(home)).recipe or found.type
    parent = trained if trained in shipped() else "bert"
    keys = resolve(parent).keys
    keys = {k: v for k, v in keys.items() if k not in ("sizes", "expect", "stages", "mix")}
    keys |= {"backbone": found.backbone, "objectives": found.objectives}
    if "tokenizer" in keys:
        keys["tokenizer"] = {"kind": "folder", "path": str(home.resolve())}
    return Tree(found.type, keys)


def facts_of_import(found: Imported, tokenizer: Any) -> Facts:
    """Sizes from the folder's configuration, special tokens from its tokenizer where it has one."""
    vocab = int(found.facts.get("vocab") or 0)
    facts = Facts(vocab=vocab, special=dict(found.facts.get("special") or {}), words=(0, vocab))
    facts.labels = dict(found.facts.get("labels") or {})
    image = found.facts.get("image")
    facts.image = (int(image[0]), int(image[1]), int(image[2])) if image else None
    if tokenizer is not None:
        facts.special |= tokenizer.special
        facts.words, facts.sentinels, facts.tokenizer = tokenizer.words, list(tokenizer.sentinels), tokenizer
        facts.continues = tokenizer.continues
    return facts
