"""ELECTRA: the discriminator in the folder, the generator in its sub-folder `generator`.

Source of the names: transformers' ElectraForPreTraining and ElectraForMaskedLM, which are two models there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from modeledge.interop._encoder import KEYS, TASKS, Encoder, blocks, both, embeddings
from modeledge.interop._names import Move
from modeledge.interop._settings import Key, complete

SHARED = ("backbone.embedding.word", "backbone.embedding.types", "backbone.embedding.norm", "backbone.positions")
"""What the generator may share with the discriminator."""


class Electra(Encoder):
    """The discriminator is the backbone with the head of `rtd`; a generator alone is one with the head of `mlm`."""

    prefix = "electra."
    keys = (*KEYS, Key("embedding_size", "embedding.width", 128))
    body = {**embeddings(prefix), **blocks(prefix)}
    parts = {
        "mlm": {
            **both("generator_predictions.dense", "objectives.mlm.head.dense"),
            **both("generator_predictions.LayerNorm", "objectives.mlm.head.norm"),
            "generator_lm_head.bias": "objectives.mlm.head.bias",
        },
        "rtd": {
            **both("discriminator_predictions.dense", "objectives.rtd.head.dense"),
            **both("discriminator_predictions.dense_prediction", "objectives.rtd.head.out"),
        },
        "classify": {
            **both("classifier.dense", "objectives.classify.pool.dense"),
            **both("classifier.out_proj", "objectives.classify.head.out"),
        },
        **TASKS,
    }
    twins = {"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"}
    classes = (
        ({"rtd"}, "ElectraForPreTraining"),
        ({"mlm"}, "ElectraForMaskedLM"),
        ({"classify"}, "ElectraForSequenceClassification"),
        ({"tag"}, "ElectraForTokenClassification"),
        ({"span_qa"}, "ElectraForQuestionAnswering"),
        (set(), "ElectraModel"),
    )
    inner = {"generator": "electra"}

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        super().adjust(backbone, config, parts)
        if backbone["embedding"]["width"] == backbone["width"]:
            backbone["embedding"]["width"] = None  # no projection where the widths agree

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        found = super().objective(part, config, parts)
        if part == "rtd":
            return {**found, "generator": "uniform"}  # until a generator is found beside it
        if part == "mlm":
            found["head"]["activation"] = "gelu"  # whatever the rest has
        return {**found, "pool": {"kind": "first", "activation": "gelu"}} if part == "classify" else found

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        found = super().config(backbone, parts, facts)
        return {**found, "embedding_size": found["embedding_size"] or backbone["width"]}

    def table(self, backbone: Mapping[str, Any], parts: set[str]) -> dict[str, Move]:
        names = super().table(backbone, parts)
        if backbone["embedding"].get("width"):
            ours = both("electra.embeddings_project", "backbone.embedding.project")
            names |= {theirs: Move((name,)) for theirs, name in ours.items()}
        return names

    def fresh(self, objective: Mapping[str, Any]) -> tuple[str, ...]:
        return ("objectives.rtd.mask.",) if objective["kind"] == "rtd" else ()

    def merge(self, found: Any, inner: Any) -> Any:
        """Discriminator and generator as the one model they were trained as; tables with equal values are shared."""
        mine, small = found.state, dict(inner.state)
        tied = [n for n in small if n.startswith(SHARED)]
        share = all(n in mine and torch.equal(small[n], mine[n]) for n in tied)
        objective = {
            **found.objectives[0],
            "generator": inner.backbone["width"] / found.backbone["width"],
            "layers": inner.backbone["layers"],
            "tie": "embeddings" if share else "none",
            "mask": {"kind": "mlm", "replace": [1.0, 0.0], "head": inner.objectives[0]["head"]},
        }
        for name, tensor in small.items():
            if name.startswith("objectives.mlm."):
                mine["objectives.rtd.mask." + name.removeprefix("objectives.mlm.")] = tensor
            elif not (share and name in tied):
                mine["objectives.rtd.generator." + name.removeprefix("backbone.")] = tensor
        return replace(found, objectives=[objective], state=mine, fresh=())

    def companions(
        self, tree: Mapping[str, Any], state: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, tuple[dict[str, Any], dict[str, Tensor]]]]:
        """The generator as a model of its own: its body and head, and the tables it shares with the discriminator."""
        name, rtd = next(((o.get("name") or "rtd", o) for o in tree["objectives"] if o["kind"] == "rtd"), ("", {}))
        body, head = f"objectives.{name}.generator.", f"objectives.{name}.mask.head."
        main = {n: t for n, t in state.items() if not n.startswith((body, head))}
        if not any(n.startswith(body) for n in state):
            return main, {}
        small = {"backbone." + n.removeprefix(body): t for n, t in state.items() if n.startswith(body)}
        small |= {"objectives.mlm.head." + n.removeprefix(head): t for n, t in state.items() if n.startswith(head)}
        small |= {n: t for n, t in state.items() if n.startswith(SHARED) and n not in small}
        tree = {"backbone": generator(tree["backbone"], rtd, small), "objectives": [rtd["mask"]]}
        return main, {"generator": (tree, small)}


def generator(backbone: Mapping[str, Any], rtd: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The generator's settings: the discriminator's, with the sizes its tensors have."""
    large = complete(backbone)
    width = state["backbone.blocks.0.attention.to_out.weight"].shape[0]
    hidden = state["backbone.blocks.0.ffn.up.weight"].shape[0]
    layers = len({n.split(".")[2] for n in state if n.startswith("backbone.blocks.")})
    sizes = {"width": width, "layers": layers, "heads": max(1, round(large["heads"] * rtd["generator"])), "pool": None}
    table = state["backbone.embedding.word.weight"].shape[1]
    parts = {"embedding": {**large["embedding"], "width": table}, "ffn": {**large["ffn"], "width": hidden}}
    attention = {**large["attention"]}
    if attention["scale"] == large["head_width"] ** -0.5:
        attention["scale"] = None  # that of its own heads
    return {**large, **sizes, **parts, "attention": attention, "head_width": None}
