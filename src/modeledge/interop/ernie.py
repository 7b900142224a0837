"""ERNIE (Baidu): BERT's tensors under another prefix, and a table of tasks where the model has one.

Source of the names: transformers' ErnieForPreTraining. The task of a row is the batch's field `task`; a row without one
is of task 0, which is what fine-tuned models are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from modeledge.core import Batch
from modeledge.interop._encoder import Encoder
from modeledge.interop._names import Move, Names, expand
from modeledge.interop._settings import place
from modeledge.interop.bert import Bert as _Bert

TASKS = "embedding.types.task"


def renamed(names: Names) -> dict[str, str | Move]:
    """BERT's names with this model's prefix."""
    return {theirs.replace("bert.", "ernie.", 1): ours for theirs, ours in names.items()}


class Ernie(Encoder):
    """The tables of ERNIE: BERT's, renamed."""

    prefix = "ernie."
    body = renamed(_Bert.body)
    parts = {part: renamed(names) for part, names in _Bert.parts.items()}
    twins = {a.replace("bert.", "ernie."): b.replace("bert.", "ernie.") for a, b in _Bert.twins.items()}
    classes = tuple((parts, name.replace("Bert", "Ernie")) for parts, name in _Bert.classes)

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        super().adjust(backbone, config, parts)
        if config.get("use_task_id"):
            backbone["embedding"]["types"]["task"] = config.get("task_type_vocab_size", 3)

    def has(self, tree: Mapping[str, Any], state: Mapping[str, Tensor]) -> set[str]:
        parts = super().has(tree, state)
        return parts - {"classify"} if "mlm" in parts else parts  # beside masked tokens it is one of the tasks

    def companions(
        self, tree: Mapping[str, Any], state: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, tuple[dict[str, Any], dict[str, Tensor]]]]:
        """The heads of ERNIE's own tasks, which no class of the type has, stay behind."""
        own = {"flag", "relation"} | ({"classify"} - self.has(tree, state))
        return {n: t for n, t in state.items() if not n.startswith(tuple(f"objectives.{kind}." for kind in own))}, {}

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        tasks = place(backbone, TASKS)
        told = {"use_task_id": True, "task_type_vocab_size": tasks} if tasks else {}
        return super().config(backbone, parts, facts) | told

    def table(self, backbone: Mapping[str, Any], parts: set[str]) -> dict[str, Move]:
        names = {"ernie.embeddings.task_type_embeddings.weight": "backbone.embedding.types.task.weight"}
        return super().table(backbone, parts) | (expand(names, 0) if place(backbone, TASKS) else {})

    def batch(self, backbone: Mapping[str, Any], facts: Mapping[str, Any]) -> Batch:
        made = super().batch(backbone, facts)
        tasks = place(backbone, TASKS)
        return made.but(task=torch.randint(0, tasks, made.ids.shape[:1])) if tasks else made

    def theirs(self, model: Any, parts: set[str], batch: Batch) -> dict[str, Tensor]:
        """The same of a model of transformers."""
        if "task" not in batch:
            return super().theirs(model, parts, batch)
        told = batch.task[:, None].expand(batch.ids.shape)

        def tell(module: Any, args: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return args, {**named, "task_type_ids": told}

        hook = model.register_forward_pre_hook(tell, with_kwargs=True)
        try:
            return super().theirs(model, parts, batch.but(task=None))
        finally:
            hook.remove()
