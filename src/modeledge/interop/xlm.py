"""XLM. Source of the names: transformers' XLMWithLMHeadModel, masked or, with `causal`, left to right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.core import Batch
from modeledge.interop._encoder import SAME, both
from modeledge.interop._names import Move
from modeledge.interop._port import Port
from modeledge.interop._settings import Key, place
from modeledge.visibility import both as and_
from modeledge.visibility import see
from modeledge.visibility.causal import causal
from modeledge.visibility.valid import valid

AT, OURS = "transformer.", "backbone.blocks.{i}."
LANGUAGES = "transformer.lang_embeddings.weight"


class XLM(Port):
    keys = (
        Key("emb_dim", "width", 2048),
        Key("n_layers", "layers", 12),
        Key("n_heads", "heads", 16),
        Key("max_position_embeddings", "positions.max", 512),
        Key("n_langs", "embedding.types.lang", 1),
        Key("gelu_activation", "ffn.activation", True, {"gelu": True, "relu": False}),
        Key("dropout", "dropout", 0.1),
        Key("attention_dropout", "attention.dropout", 0.1),
        Key("layer_norm_eps", ("norm.eps", "embedding.norm.eps"), 1e-12),
        Key("init_std", "init.std", 0.02),
    )
    same = SAME
    prefix = AT
    body = {
        AT + "embeddings.weight": "backbone.embedding.word.weight",
        AT + "position_embeddings.weight": "backbone.positions.table.weight",
        LANGUAGES: "backbone.embedding.types.lang.weight",
        **both(AT + "layer_norm_emb", "backbone.embedding.norm"),
        **both(AT + "attentions.{i}.q_lin", OURS + "attention.to_q"),
        **both(AT + "attentions.{i}.k_lin", OURS + "attention.to_k"),
        **both(AT + "attentions.{i}.v_lin", OURS + "attention.to_v"),
        **both(AT + "attentions.{i}.out_lin", OURS + "attention.to_out"),
        **both(AT + "layer_norm1.{i}", OURS + "join_attention.norm"),
        **both(AT + "ffns.{i}.lin1", OURS + "ffn.up"),
        **both(AT + "ffns.{i}.lin2", OURS + "ffn.down"),
        **both(AT + "layer_norm2.{i}", OURS + "join_ffn.norm"),
    }
    parts = {part: {"pred_layer.proj.bias": f"objectives.{part}.head.bias"} for part in ("mlm", "clm")}
    twins = {"pred_layer.proj.weight": AT + "embeddings.weight"}
    classes = (({"mlm"}, "XLMWithLMHeadModel"), ({"clm"}, "XLMWithLMHeadModel"), (set(), "XLMModel"))

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        self.refuse(config, asm=(False,), sinusoidal_embeddings=(False,), is_encoder=(True,))
        backbone["ffn"]["width"] = 4 * backbone["width"]
        if config.get("n_langs", 1) == 1 or config.get("use_lang_emb") is False:
            backbone["embedding"]["types"] = {}

    def found(self, theirs: Mapping[str, Tensor], config: Mapping[str, Any]) -> set[str]:
        if not any(name in theirs for name in self.parts["mlm"]):
            return set()
        return {"clm" if config.get("causal") else "mlm"}

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        return {"kind": part, "head": {"kind": "token", "transform": "none", "bias": True}}

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        out = super().config(backbone, parts, facts)
        return out | {"n_langs": out["n_langs"] or 1, "causal": "clm" in parts}

    def table(self, backbone: Mapping[str, Any], parts: set[str]) -> dict[str, Move]:
        found = super().table(backbone, parts)
        if not place(backbone, "embedding.types.lang"):
            del found[LANGUAGES]
        return found

    def batch(self, backbone: Mapping[str, Any], facts: Mapping[str, Any]) -> Batch:
        batch = super().batch(backbone, facts)
        languages = place(backbone, "embedding.types.lang") or 0
        return batch.but(lang=torch.randint(0, languages, batch.ids.shape) if languages else None)

    def ours(self, backbone: nn.Module, heads: Mapping[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
        rule = and_(causal, valid(batch.valid)) if "clm" in heads else valid(batch.valid)
        out = backbone(batch, see(rule, *batch.ids.shape, device=batch.ids.device))
        return self.scores(out, heads, batch) or {"states": out.states[batch.valid]}

    def theirs(self, model: Any, parts: set[str], batch: Batch) -> dict[str, Tensor]:
        found = model(batch.ids, attention_mask=batch.valid.long(), langs=batch.get("lang"))
        heads = self.heads(parts)
        return {heads[0] if heads else "states": found[0][batch.valid]}
