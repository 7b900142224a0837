"""A recipe explained before anything is trained: who set each key, how large the model is, what a step costs.

The model is built on the meta device: no memory, no weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from modeledge.core import Facts
from modeledge.recipe.compare import explain as explain_keys
from modeledge.recipe.resolve import Tree
from modeledge.recipe.schema import Recipe, check
from modeledge.run.model import Model, parameter_count
from modeledge.run.order import Batches

_SPECIAL = ("pad", "unk", "cls", "sep", "mask", "bos", "eos", "mask_sent")


@dataclass
class Explained:
    """What `recipes show --explain` prints."""

    name: str
    chain: tuple[str, ...]
    keys: list[tuple[str, str, str]]
    parameters: dict[str, int] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        keys = [{"key": k, "value": v, "from": f} for k, v, f in self.keys]
        rest = {"parameters": self.parameters, "training": self.training, "expect": self.expected}
        return {"name": self.name, "extends": list(self.chain[1:]), "keys": keys, **rest}

    def __str__(self) -> str:
        wide, value = max(len(k) for k, _, _ in self.keys), max(min(len(v), 48) for _, v, _ in self.keys)
        lines = [" <- ".join(self.chain)]
        lines += [f"  {k:{wide}}  {v:{value}}  {f}" for k, v, f in self.keys]
        lines += ["", *(f"  {k:24} {v:>15,}" for k, v in self.parameters.items())]
        lines += [f"  {k:24} {v:>15,.4g}" for k, v in self.training.items()]
        lines += [f"  expect {k}: {v}" for k, v in self.expected.items()]
        return "\n".join(lines)


def stand_in_facts(recipe: Recipe) -> Facts:
    """Facts of the right sizes for a recipe that has met no data yet: its own vocabulary size, 1000 classes."""
    vocab = int(getattr(recipe.tokenizer, "vocab", 0) or 0)
    sentinels = int(getattr(recipe.tokenizer, "sentinels", 0) or 0)
    roles = [*_SPECIAL, *(f"lang{i}" for i in range(getattr(recipe.tokenizer, "languages", 0)))]
    labels = [str(i) for i in range(int(recipe.expect.get("classes", 1000)))]
    return Facts(
        vocab=vocab,
        special={role: i for i, role in enumerate(roles)},
        words=(len(roles), vocab - sentinels),
        sentinels=list(range(vocab - 1, vocab - 1 - sentinels, -1)),
        labels={name: labels for name in ["label", *recipe.data]},
        image=(224, 224, 3),
        entities=int(recipe.expect.get("entities", 1000)),
        relations=int(recipe.expect.get("relations", 10)),
    )


def explain(tree: Tree) -> Explained:
    """Validate a resolved recipe and say what it amounts to. Raises RecipeError if it is wrong."""
    recipe = check(tree)
    with torch.device("meta"):
        model = Model(recipe, stand_in_facts(recipe))
    sizes = {"backbone parameters": parameter_count(model.backbone), "all parameters": parameter_count(model)}
    length = int(getattr(next(iter(recipe.data.values())), "length", 1) or 1)
    loop = recipe.loop
    tokens = float(loop.batch * length)
    rows = int(Batches(loop.batch, loop.rampup, loop.steps).before(np.array(loop.steps)))
    body = sum(p.numel() for n, p in model.backbone.named_parameters() if p.ndim >= 2 and "embed" not in n)
    states = sizes["all parameters"] * 16 / 2**20
    training = {
        "tokens a step": tokens,
        "tokens in all": float(rows * length),
        "MFLOP a token (body)": 6 * body / 1e6,
        "weights and moments MiB": states,
    }
    wanted = recipe.expect.get("backbone_params")
    expected = {}
    if wanted is not None and tree.size is None:  # what a recipe expects, it expects of the paper's size
        right = sizes["backbone parameters"] == wanted
        expected["backbone_params"] = f"{wanted:,} " + (
            "(as built)" if right else f"BUT BUILT {sizes['backbone parameters']:,}"
        )
    return Explained(tree.name, tree.chain, explain_keys(tree), sizes, training, expected)
