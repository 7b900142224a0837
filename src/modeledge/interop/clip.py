"""CLIP with a ViT as its picture tower. Source of the names: transformers' CLIPModel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.core import Batch
from modeledge.interop._encoder import both
from modeledge.interop._names import Move, boxed, expand
from modeledge.interop._port import Port
from modeledge.interop._settings import Key, activation
from modeledge.visibility import Seen, see
from modeledge.visibility.causal import causal

IDS = {"vocab_size": 49408, "pad_token_id": 1, "bos_token_id": 49406, "eos_token_id": 49407}
"""Keys about the text that we keep in the facts, and what they mean when they are absent."""


def tower(theirs: str, ours: str) -> tuple[Key, ...]:
    """Settings that both towers have."""
    return (
        Key(f"{theirs}.hidden_size", f"{ours}.width", 512 if ours.endswith("text") else 768),
        Key(f"{theirs}.num_hidden_layers", f"{ours}.layers", 12),
        Key(f"{theirs}.num_attention_heads", f"{ours}.heads", 8 if ours.endswith("text") else 12),
        Key(f"{theirs}.intermediate_size", f"{ours}.ffn.width", 2048 if ours.endswith("text") else 3072),
        activation(f"{theirs}.hidden_act", f"{ours}.ffn.activation", "quick_gelu"),
        Key(f"{theirs}.attention_dropout", f"{ours}.attention.dropout", 0.0),
    )


def layer(theirs: str, ours: str) -> dict[str, str]:
    """One layer of a tower."""
    at, mine = f"{theirs}.encoder.layers.{{i}}.", f"backbone.towers.{ours}.blocks.{{i}}."
    return {
        **both(at + "layer_norm1", mine + "join_attention.norm"),
        **both(at + "self_attn.q_proj", mine + "attention.to_q"),
        **both(at + "self_attn.k_proj", mine + "attention.to_k"),
        **both(at + "self_attn.v_proj", mine + "attention.to_v"),
        **both(at + "self_attn.out_proj", mine + "attention.to_out"),
        **both(at + "layer_norm2", mine + "join_ffn.norm"),
        **both(at + "mlp.fc1", mine + "ffn.up"),
        **both(at + "mlp.fc2", mine + "ffn.down"),
    }


class CLIP(Port):
    """CLIPModel: two towers, their projections and the scale."""

    keys = (
        Key("projection_dim", "width", 512),
        *tower("text_config", "towers.text"),
        Key("text_config.max_position_embeddings", "towers.text.positions.max", 77),
        Key("text_config.layer_norm_eps", "towers.text.norm.eps", 1e-5),
        *tower("vision_config", "towers.image"),
        Key("vision_config.image_size", "towers.image.embedding.size", 224),
        Key("vision_config.patch_size", "towers.image.embedding.patch", 32),
        Key("vision_config.layer_norm_eps", ("towers.image.norm.eps", "towers.image.embedding.norm.eps"), 1e-5),
    )
    same = {
        "kind": "dual",
        **{
            f"towers.{name}.{path}": value
            for name in ("image", "text")
            for path, value in {
                "kind": "transformer",
                "norm.kind": "layer",
                "join.kind": "pre",
                "attention.kind": "softmax",
                "ffn.kind": "mlp",
                "init.kind": "clip",
            }.items()
        },
        "towers.image.embedding.kind": "patches",
        "towers.image.embedding.bias": False,
        "towers.image.embedding.norm.kind": "layer",
        "towers.image.embedding.pixels": "clip",
        "towers.image.positions.kind": "grid",
        "towers.image.pool.kind": "cls",
        "towers.text.embedding.kind": "tokens",
        "towers.text.positions.kind": "learned",
        "towers.text.pool.kind": "last",
    }
    body = {
        "text_model.embeddings.token_embedding.weight": "backbone.towers.text.embedding.word.weight",
        "text_model.embeddings.position_embedding.weight": "backbone.towers.text.positions.table.weight",
        **both("text_model.final_layer_norm", "backbone.towers.text.norm"),
        "text_projection.weight": "backbone.projections.text.weight",
        "vision_model.embeddings.class_embedding": boxed("backbone.towers.image.embedding.first", -2),
        "vision_model.embeddings.patch_embedding.weight": "backbone.towers.image.embedding.patch.weight",
        "vision_model.embeddings.position_embedding.weight": "backbone.towers.image.positions.table.weight",
        **both("vision_model.pre_layrnorm", "backbone.towers.image.embedding.norm"),
        **both("vision_model.post_layernorm", "backbone.towers.image.norm"),
        "visual_projection.weight": "backbone.projections.image.weight",
    }
    parts = {"contrast": {"logit_scale": "objectives.contrast.log_scale"}}
    classes = (({"contrast"}, "CLIPModel"),)
    towers = ("image", "text")

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        self.refuse(config["vision_config"], num_channels=(3,))

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        return {"kind": part}

    def settings(self, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        text = config.get("text_config", {})
        flat = {key: text.get(key, absent) for key, absent in IDS.items()}
        if flat["eos_token_id"] == 2:  # so say the released files, and mean the highest id of a text
            flat["eos_token_id"] = flat["vocab_size"] - 1
        return super().settings({"text_config": {}, "vision_config": {}, **config, **flat}, parts)

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        found = super().config(backbone, parts, facts)
        for key in IDS:
            if key in found:
                found["text_config"][key] = found.pop(key)
        found["text_config"] |= {"model_type": "clip_text_model", "projection_dim": backbone["width"]}
        found["vision_config"] |= {"model_type": "clip_vision_model", "projection_dim": backbone["width"]}
        return found

    def table(self, backbone: Mapping[str, Any], parts: set[str]) -> dict[str, Move]:
        out = expand({**self.body, **self.parts["contrast"]}, 0)
        for theirs, ours in (("text_model", "text"), ("vision_model", "image")):
            out |= expand(layer(theirs, ours), backbone["towers"][ours]["layers"])
        return out

    def batch(self, backbone: Mapping[str, Any], facts: Mapping[str, Any]) -> Batch:
        side, end = backbone["towers"]["image"]["embedding"]["size"], facts["special"].get("eos", facts["vocab"] - 1)
        length = min(12, backbone["towers"]["text"]["positions"]["max"])
        ids = torch.randint(0, facts["vocab"] - 1, (2, length))
        ids = torch.where(ids >= end, (ids + 1) % end, ids)
        last = torch.tensor([[length - 1], [length // 2]])
        place = torch.arange(length)
        return Batch(image=torch.randn(2, side, side, 3), ids=ids.masked_fill(place == last, end), valid=place <= last)

    def ours(self, backbone: nn.Module, heads: Mapping[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
        text = see(causal, *batch.ids.shape, device=batch.ids.device)
        towers = backbone(batch, {"image": Seen(), "text": text}).towers
        return {name: F.normalize(out.pooled, dim=-1) for name, out in towers.items()}

    def theirs(self, model: Any, parts: set[str], batch: Batch) -> dict[str, Tensor]:
        out = model(input_ids=batch.ids, pixel_values=batch.image.permute(0, 3, 1, 2))
        return {"image": out.image_embeds, "text": out.text_embeds}
