"""What the encoder-decoders of the BART family have in common in their Hugging Face form.

Source of the names: transformers' BartForConditionalGeneration, which Marian, Pegasus and mBART kept. Its
`final_logits_bias` is a buffer that is zero unless somebody filled it; a head of ours has a bias only if it is not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.core import Batch, InputError
from modeledge.interop._encoder import both
from modeledge.interop._names import Move, boxed, expand
from modeledge.interop._port import Port
from modeledge.interop._settings import Key, activation

SEQ2SEQ = ("reconstruct", "gap_sentences", "mass", "denoise", "seq2seq")
KEYS = (
    Key("d_model", "width", 1024),
    Key("encoder_layers", "layers", 12),
    Key("decoder_layers", "decoder_layers", 12),
    Key("encoder_attention_heads", "heads", 16),
    Key("decoder_attention_heads", "heads", 16),
    Key("encoder_ffn_dim", "ffn.width", 4096),
    Key("decoder_ffn_dim", "ffn.width", 4096),
    activation("activation_function", "ffn.activation", "gelu"),
    Key("dropout", "dropout", 0.1),
    Key("attention_dropout", "attention.dropout", 0.0),
    Key("activation_dropout", "ffn.dropout", 0.0),
    Key("scale_embedding", "embedding.scale", False, {"none": False, "root": True}),
    Key("init_std", "init.std", 0.02),
)
SAME = {
    "kind": "encoder_decoder",
    "embedding.kind": "tokens",
    "norm.kind": "layer",
    "norm.eps": 1e-5,
    "attention.kind": "softmax",
    "ffn.kind": "mlp",
    "init.kind": "normal",
}
BIAS = "bias"
LOGITS = "final_logits_bias"
WORD = "backbone.encoder.embedding.word.weight"
STACKS = ("encoder", "decoder")


def layer(stack: str) -> dict[str, str]:
    """One layer of the encoder or the decoder."""
    at, ours = f"model.{stack}.layers.{{i}}.", f"backbone.{stack}.blocks.{{i}}."
    reads = {"self_attn": "attention"} | ({"encoder_attn": "cross"} if stack == "decoder" else {})
    names = both(at + "fc1", ours + "ffn.up") | both(at + "fc2", ours + "ffn.down")
    names |= both(at + "final_layer_norm", ours + "join_ffn.norm")
    for theirs, mine in reads.items():
        names |= both(at + f"{theirs}_layer_norm", ours + f"join_{mine}.norm")
        for x in ("q", "k", "v", "out"):
            names |= both(at + f"{theirs}.{x}_proj", ours + f"{mine}.to_{x}")
    return names


class TwoStacks(Port):
    """What any encoder-decoder is compared on, and how both sides run it."""

    def batch(self, backbone: Mapping[str, Any], facts: Mapping[str, Any]) -> Batch:
        return super().batch(backbone, facts).but(decoder_ids=torch.randint(0, facts["vocab"], (2, 7)))

    def ours(self, backbone: nn.Module, heads: Mapping[str, Any], batch: Batch) -> dict[str, Tensor]:
        states = backbone(batch, self.seen(batch)).states
        return {"logits": next(iter(heads.values())).head(states)} if heads else {"states": states}

    def theirs(self, model: Any, parts: set[str], batch: Batch) -> dict[str, Tensor]:
        out = model(input_ids=batch.ids, attention_mask=batch.valid.long(), decoder_input_ids=batch.decoder_ids)
        return {"logits": out.logits} if parts else {"states": out.last_hidden_state}


class Stacks(TwoStacks):
    """start: the special token a decoder begins with; once: names of a stack that stand once, beside its layers."""

    keys, same = KEYS, SAME
    prefix = "model."
    parts = {kind: {} for kind in SEQ2SEQ}
    twins = dict.fromkeys(
        ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"),
        "model.shared.weight",
    )
    start = "eos"
    first = "reconstruct"
    once: Mapping[str, str] = {}

    def clean(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = super().clean(theirs)
        if LOGITS in out and not out[LOGITS].any():
            del out[LOGITS]
        return out

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        for name in ("attention_heads", "ffn_dim"):
            one, other = (config.get(f"{stack}_{name}") for stack in STACKS)
            if one != other:
                raise InputError(f"config.json ({self.type}): both stacks share {name} here, these have {one}, {other}")
        self.refuse(config, tie_word_embeddings=(True,))

    def found(self, theirs: Mapping[str, Tensor], config: Mapping[str, Any]) -> set[str]:
        if (config.get("architectures") or [""])[0] == self.classes[-1][1]:
            return set()
        return {self.first} | ({BIAS} if LOGITS in theirs else set())

    def has(self, tree: Mapping[str, Any], state: Mapping[str, Tensor]) -> set[str]:
        found = super().has(tree, state)
        biased = any(o["head"].get("bias") for o in tree["objectives"] if o["kind"] in found)
        return found | ({BIAS} if biased else set())

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        head = {"kind": "token", "transform": "none", "bias": BIAS in parts}
        return {"kind": part, "start": self.start, "head": head}

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        special = facts.get("special", {})
        ends = {"forced_eos_token_id": special.get("eos"), "decoder_start_token_id": special.get(self.start)}
        return super().config(backbone, parts, facts) | ends | {"is_encoder_decoder": True}

    def class_of(self, parts: set[str]) -> str:
        return super().class_of(parts & set(SEQ2SEQ))

    def table(self, backbone: Mapping[str, Any], parts: set[str]) -> dict[str, Move]:
        out = expand({"model.shared.weight": WORD}, 0)
        for stack, depth in zip(STACKS, (backbone["layers"], backbone["decoder_layers"]), strict=True):
            once = {f"model.{stack}.{a}": f"backbone.{stack}.{b}" for a, b in self.once.items()}
            out |= expand({**layer(stack), **once}, depth)
        if BIAS in parts:
            kind = next(k for k in SEQ2SEQ if k in parts)
            out[LOGITS] = boxed(f"objectives.{kind}.head.bias")
        return out

    def tensors(self, backbone: Mapping[str, Any], parts: set[str], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = super().tensors(backbone, parts, ours)
        if self.heads(parts) and LOGITS not in out:
            out[LOGITS] = ours[WORD].new_zeros(1, len(ours[WORD]))
        return out


class Waves(Stacks):
    """Those whose positions are fixed waves, which a folder may repeat as tables."""

    start = "pad"
    places = tuple(f"model.{stack}.embed_positions.weight" for stack in STACKS)

    def clean(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = super().clean(theirs)
        for name in self.places:
            table = out.pop(name, None)
            if table is not None and not torch.allclose(table, waves(*table.shape), atol=1e-4):
                raise InputError(f"the folder ({self.type}): {name} is not the table of fixed waves")
        return out


def waves(rows: int, width: int) -> Tensor:
    """The table of `sinusoidal` positions, as transformers stores it."""
    step = torch.arange((width + 1) // 2, dtype=torch.float64) * (2 / width)
    angle = torch.arange(rows, dtype=torch.float64)[:, None] * torch.exp(-math.log(10000) * step)
    return torch.cat([angle.sin(), angle[:, : width // 2].cos()], -1).float()
