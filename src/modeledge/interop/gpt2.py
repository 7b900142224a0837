"""GPT-2. Source of the names: transformers' GPT2LMHeadModel, whose matrices are turned and whose q, k, v are one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.core import Batch
from modeledge.interop._encoder import both
from modeledge.interop._gpt import BLOCK
from modeledge.interop._port import Port
from modeledge.interop._settings import Key, activation
from modeledge.visibility import Seen, see
from modeledge.visibility import both as and_
from modeledge.visibility.causal import causal
from modeledge.visibility.valid import valid


class GPT2(Port):
    keys = (
        Key("n_embd", "width", 768),
        Key("n_layer", "layers", 12),
        Key("n_head", "heads", 12),
        Key("n_positions", "positions.max", 1024),
        Key("n_inner", "ffn.width"),
        activation("activation_function", "ffn.activation", "gelu_new"),
        Key("resid_pdrop", "dropout", 0.1),
        Key("embd_pdrop", "embedding.dropout", 0.1),
        Key("attn_pdrop", "attention.dropout", 0.1),
        Key("layer_norm_epsilon", "norm.eps", 1e-5),
        Key("initializer_range", "init.std", 0.02),
    )
    same = {
        "kind": "transformer",
        "embedding.kind": "tokens",
        "positions.kind": "learned",
        "norm.kind": "layer",
        "join.kind": "pre",
        "attention.kind": "softmax",
        "ffn.kind": "mlp",
        "init.kind": "normal",
        "init.residual": "scaled",
    }
    prefix = "transformer."
    body = {
        "transformer.wte.weight": "backbone.embedding.word.weight",
        "transformer.wpe.weight": "backbone.positions.table.weight",
        **BLOCK,
        **both("transformer.ln_f", "backbone.norm"),
    }
    parts = {"clm": {}}
    twins = {"lm_head.weight": "transformer.wte.weight"}
    ignored = (*Port.ignored, ".attn.bias", ".attn.masked_bias")  # causal masks that old files hold as buffers
    classes = (({"clm"}, "GPT2LMHeadModel"), (set(), "GPT2Model"))

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        self.refuse(
            config,
            scale_attn_weights=(True,),
            scale_attn_by_inverse_layer_idx=(False,),
            add_cross_attention=(False,),
            tie_word_embeddings=(True,),
        )
        backbone["ffn"]["width"] = backbone["ffn"]["width"] or 4 * backbone["width"]

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        return {"kind": "clm", "head": {"kind": "token", "transform": "none", "bias": False}}

    def seen(self, batch: Batch) -> Seen:
        return see(and_(causal, valid(batch.valid)), *batch.ids.shape, device=batch.ids.device)
