"""GPT of 2018. Source of the names: transformers' OpenAIGPTLMHeadModel and OpenAIGPTDoubleHeadsModel.

Its matrices are turned and its q, k, v are one, as in GPT-2; its "gelu" is the tanh form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from modeledge.core import Batch
from modeledge.interop._encoder import SAME, both
from modeledge.interop._gpt import BLOCK
from modeledge.interop._port import Port
from modeledge.interop._settings import Key
from modeledge.visibility import Seen, see
from modeledge.visibility import both as and_
from modeledge.visibility.causal import causal
from modeledge.visibility.valid import valid


class OpenAIGPT(Port):
    spelled = "openai-gpt"
    keys = (
        Key("n_embd", "width", 768),
        Key("n_layer", "layers", 12),
        Key("n_head", "heads", 12),
        Key("n_positions", "positions.max", 512),
        Key("afn", "ffn.activation", "gelu", {"gelu_tanh": "gelu", "relu": "relu", "silu": "silu"}),
        Key("resid_pdrop", "dropout", 0.1),
        Key("embd_pdrop", "embedding.dropout", 0.1),
        Key("attn_pdrop", "attention.dropout", 0.1),
        Key("layer_norm_epsilon", "norm.eps", 1e-5),
        Key("initializer_range", "init.std", 0.02),
    )
    same = {key: value for key, value in SAME.items() if key != "embedding.norm.kind"}
    prefix = "transformer."
    body = {
        "transformer.tokens_embed.weight": "backbone.embedding.word.weight",
        "transformer.positions_embed.weight": "backbone.positions.table.weight",
        **BLOCK,
    }
    parts = {"clm": {}, "choice": both("multiple_choice_head.summary", "objectives.choice.head.out")}
    twins = {"lm_head.weight": "transformer.tokens_embed.weight"}
    ignored = (*Port.ignored, ".attn.bias")  # the causal mask that old files hold as a buffer
    classes = (
        ({"clm", "choice"}, "OpenAIGPTDoubleHeadsModel"),
        ({"clm"}, "OpenAIGPTLMHeadModel"),
        (set(), "OpenAIGPTModel"),
    )

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        self.refuse(config, tie_word_embeddings=(True,))
        if "choice" in parts:
            self.refuse(config, summary_type=("cls_index",), summary_use_proj=(True,), summary_activation=("",))
        backbone["ffn"]["width"] = 4 * backbone["width"]

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        if part == "clm":
            return {"kind": "clm", "head": {"kind": "token", "transform": "none", "bias": False}}
        head = {"kind": "classifier", "dropout": config.get("summary_first_dropout", 0.1)}
        return {"kind": part, "sees": "causal", "pool": {"kind": "last"}, "head": head}

    def seen(self, batch: Batch) -> Seen:
        return see(and_(causal, valid(batch.valid)), *batch.ids.shape, device=batch.ids.device)

    def theirs(self, model: Any, parts: set[str], batch: Batch) -> dict[str, Tensor]:
        if "choice" not in parts:
            return super().theirs(model, parts, batch)
        last = batch.valid.sum(1, keepdim=True) - 1
        out = model(batch.ids[:, None], attention_mask=batch.valid.long(), mc_token_ids=last)
        return {"clm": out.logits[:, 0][batch.valid], "choice": out.mc_logits.reshape(-1, 1)}
