"""Teach a model to answer questions by going from paragraph to paragraph: System 1, then both systems.

Source: CogQA, arXiv:1905.05460 §3, and its released code: an epoch of System 1 alone, then both; here each has
half of the steps. Not here: the walk (explore.py), the losses (objectives/hops.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modeledge.core import Facts, InputError
from modeledge.data.sources.paragraphs import Paragraphs
from modeledge.recipe.resolve import Tree
from modeledge.recipe.schema import Recipe
from modeledge.run.checkpoint import own_tensors
from modeledge.run.forms import check_length, is_causal
from modeledge.run.model import make_model
from modeledge.run.setting import Setting

TYPES = 30
"""Rows of the table of sentence types."""


class MultiHop(Setting):
    """Settings for `hops`."""

    source: Paragraphs
    valid: Paragraphs | None

    def require(self) -> None:
        backbone, t = self.loaded.recipe.backbone, self.tuning
        if backbone.kind != "transformer" or is_causal(self.loaded.recipe):
            raise InputError(f"{self.loaded.path}: --task hops needs an encoder\n  next: a recipe like bert or roberta")
        if t.mix or t.auxiliary or t.train == "head" or self.question.orders == "both":
            raise InputError("--task hops: takes no --mix, --auxiliary, --train head or --orders both")
        super().require()

    def data_keys(self) -> dict[str, Any]:
        length = check_length(self.loaded.recipe, self.question.length, self.kind.length)
        return {"kind": "paragraphs", "length": length, **self.columns}

    def tell(self, say: Callable[[str], None]) -> None:
        if not self.source.known:
            raise InputError(
                f"{self.question.data}: no answer stands in its question's paragraphs, there is nothing to learn from\n"
                "  next: paragraphs as [{title, sentences}], with the answer's words in one of the sentences"
            )
        lost = len(self.source.stories) - len(self.source.known)
        say(
            f"training: {len(self.source)} questions; {lost} whose paragraphs do not lead to their answers are left out"
        )
        if self.valid is not None:
            say(f"validation: {len(self.valid.stories)} questions")
        if self.source.missing:
            say(f"{self.source.missing} supporting facts name sentences that are not there")

    def tree(self, seed: int) -> Tree:
        """Two stages; the backbone with a table of sentence types."""
        tree = super().tree(seed)
        keys = dict(tree.keys)
        backbone = dict(keys["backbone"])
        embedding = {"kind": "tokens", **dict(backbone.get("embedding") or {})}
        backbone["embedding"] = embedding | {"types": {**(embedding.get("types") or {}), "sentence": TYPES}}
        whole, steps = keys["objectives"][0], keys["loop"]["steps"]
        first = max(1, steps // 2)
        stages = [
            {"objectives": [{**whole, "below": None}], "loop": {"steps": first}},
            {"objectives": [whole], "loop": {"steps": max(1, steps - first)}},
        ]
        return Tree(tree.name, keys | {"backbone": backbone, "stages": stages}, tree.places)

    def weights(self, recipe: Recipe, facts: Facts) -> dict[str, torch.Tensor]:
        """What the model brings along, and a fresh table of sentence types."""
        fresh = own_tensors(make_model(recipe, facts, seed=recipe.loop.seed))
        types = {n: t for n, t in fresh.items() if n.startswith("backbone.embedding.types.sentence")}
        return types | super().weights(recipe, facts)
