"""ALBERT: a narrow embedding, groups of layers that share everything. Names: transformers' AlbertForPreTraining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.core import InputError
from modeledge.interop._encoder import KEYS, TASKS, Encoder, both, embeddings
from modeledge.interop._settings import Key

AT, OURS = "albert.encoder.albert_layer_groups.{i}.albert_layers.0.", "backbone.blocks.{i}."


class Albert(Encoder):
    prefix = "albert."
    keys = (*KEYS, Key("embedding_size", "embedding.width", 128))
    body = {
        **embeddings(prefix),
        **both("albert.encoder.embedding_hidden_mapping_in", "backbone.embedding.project"),
        **both(AT + "attention.query", OURS + "attention.to_q"),
        **both(AT + "attention.key", OURS + "attention.to_k"),
        **both(AT + "attention.value", OURS + "attention.to_v"),
        **both(AT + "attention.dense", OURS + "attention.to_out"),
        **both(AT + "attention.LayerNorm", OURS + "join_attention.norm"),
        **both(AT + "ffn", OURS + "ffn.up"),
        **both(AT + "ffn_output", OURS + "ffn.down"),
        **both(AT + "full_layer_layer_norm", OURS + "join_ffn.norm"),
    }
    parts = {
        "pool": both("albert.pooler", "backbone.pool.dense"),
        "mlm": {
            **both("predictions.dense", "objectives.mlm.head.dense"),
            **both("predictions.LayerNorm", "objectives.mlm.head.norm"),
            "predictions.bias": "objectives.mlm.head.bias",
        },
        "sop": both("sop_classifier.classifier", "objectives.sop.head.out"),
        "classify": both("classifier", "objectives.classify.head.out"),
        **TASKS,
    }
    twins = {
        "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    }
    classes = (
        ({"mlm", "sop"}, "AlbertForPreTraining"),
        ({"mlm"}, "AlbertForMaskedLM"),
        ({"classify"}, "AlbertForSequenceClassification"),
        ({"tag"}, "AlbertForTokenClassification"),
        ({"span_qa"}, "AlbertForQuestionAnswering"),
        (set(), "AlbertModel"),
    )

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        super().adjust(backbone, config, parts)
        self.refuse(config, inner_group_num=(1,))
        groups = config.get("num_hidden_groups", 1)
        backbone["share"] = "none" if groups == backbone["layers"] > 1 else "all"
        backbone["groups"] = 1 if backbone["share"] == "none" else groups

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        if backbone["share"] not in ("all", "none"):
            raise InputError(f"albert: no class of transformers shares only {backbone['share']!r} between layers")
        groups = backbone["layers"] if backbone["share"] == "none" else backbone["groups"]
        found = super().config(backbone, parts, facts)
        return {**found, "num_hidden_groups": groups, "inner_group_num": 1, "classifier_dropout_prob": 0.1}

    def layers(self, backbone: Mapping[str, Any]) -> list[tuple[int, int]]:
        """(group, our first layer of it)."""
        if backbone["share"] == "none":
            return [(i, i) for i in range(backbone["layers"])]
        each = backbone["layers"] // backbone["groups"]
        return [(g, g * each) for g in range(backbone["groups"])]
