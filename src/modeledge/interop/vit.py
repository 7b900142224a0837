"""ViT. Source of the names: the files that transformers writes for ViTForImageClassification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.core import Batch
from modeledge.interop._encoder import both
from modeledge.interop._names import boxed
from modeledge.interop._port import Port
from modeledge.interop._settings import Key, activation

AT, OURS = "vit.encoder.layer.{i}.", "backbone.blocks.{i}."


class ViT(Port):
    keys = (
        Key("hidden_size", "width", 768),
        Key("num_hidden_layers", "layers", 12),
        Key("num_attention_heads", "heads", 12),
        Key("intermediate_size", "ffn.width", 3072),
        activation("hidden_act", "ffn.activation", "gelu"),
        Key("hidden_dropout_prob", "dropout", 0.0),
        Key("attention_probs_dropout_prob", "attention.dropout", 0.0),
        Key("image_size", "embedding.size", 224),
        Key("patch_size", "embedding.patch", 16),
        Key("layer_norm_eps", "norm.eps", 1e-12),
        Key("initializer_range", "init.std", 0.02),
    )
    same = {
        "kind": "transformer",
        "embedding.kind": "patches",
        "positions.kind": "grid",
        "norm.kind": "layer",
        "join.kind": "pre",
        "attention.kind": "softmax",
        "ffn.kind": "mlp",
        "init.kind": "normal",
    }
    prefix = "vit."
    body = {
        "vit.embeddings.cls_token": "backbone.embedding.first",
        "vit.embeddings.position_embeddings": boxed("backbone.positions.table.weight"),
        **both("vit.embeddings.patch_embeddings.projection", "backbone.embedding.patch"),
        **both(AT + "layernorm_before", OURS + "join_attention.norm"),
        **both(AT + "attention.attention.query", OURS + "attention.to_q"),
        **both(AT + "attention.attention.key", OURS + "attention.to_k"),
        **both(AT + "attention.attention.value", OURS + "attention.to_v"),
        **both(AT + "attention.output.dense", OURS + "attention.to_out"),
        **both(AT + "layernorm_after", OURS + "join_ffn.norm"),
        **both(AT + "intermediate.dense", OURS + "ffn.up"),
        **both(AT + "output.dense", OURS + "ffn.down"),
        **both("vit.layernorm", "backbone.norm"),
    }
    parts = {
        "pool": both("vit.pooler.dense", "backbone.pool.dense"),
        "image_label": both("classifier", "objectives.image_label.head.out"),
    }
    classes = (({"image_label"}, "ViTForImageClassification"), (set(), "ViTModel"))

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        self.refuse(config, qkv_bias=(True,), num_channels=(3,), pooler_act=("tanh",))
        backbone["pool"] = {"kind": "first" if "pool" in parts else "cls"}

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        return {"kind": part, "head": {"kind": "classifier", "start": "zero"}}

    def batch(self, backbone: Mapping[str, Any], facts: Mapping[str, Any]) -> Batch:
        side = backbone["embedding"]["size"]
        return Batch(image=torch.randn(2, side, side, 3))

    def ours(self, backbone: nn.Module, heads: Mapping[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
        out = backbone(batch)
        return {part: head(out, batch, pooled=True) for part, head in heads.items()} or {"states": out.states}

    def theirs(self, model: Any, parts: set[str], batch: Batch) -> dict[str, Tensor]:
        out = model(pixel_values=batch.image.permute(0, 3, 1, 2))
        return {"image_label": out.logits} if "image_label" in parts else {"states": out.last_hidden_state}
