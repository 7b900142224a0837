"""T5 and T5 v1.1. Source of the names: transformers' T5ForConditionalGeneration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from modeledge.core import InputError
from modeledge.interop._names import Move, expand
from modeledge.interop._settings import ACTIVATIONS, SYNONYMS, Key
from modeledge.interop._stacks import TwoStacks

SEQ2SEQ = ("denoise", "seq2seq")


def stack(name: str) -> dict[str, str]:
    """One layer of the encoder or the decoder, without its feed-forward."""
    at, ours = f"{name}.block.{{i}}.layer.", f"backbone.{name}.blocks.{{i}}."
    names = {
        at + f"0.SelfAttention.{x}.weight": ours + f"attention.to_{y}.weight" for x, y in zip("qkvo", QKVO, strict=True)
    }
    names[at + "0.layer_norm.weight"] = ours + "join_attention.norm.weight"
    if name == "decoder":
        names |= {
            at + f"1.EncDecAttention.{x}.weight": ours + f"cross.to_{y}.weight"
            for x, y in zip("qkvo", QKVO, strict=True)
        }
        names[at + "1.layer_norm.weight"] = ours + "join_cross.norm.weight"
    names[at + f"{LAST[name]}.layer_norm.weight"] = ours + "join_ffn.norm.weight"
    return names


QKVO = ("q", "k", "v", "out")
OWN = "own"
SCALED = "scaled"
"""What else a head may have: a matrix of its own (T5 v1.1), states divided by the root of their width (T5)."""
GATED = {"wi_0": "gate", "wi_1": "up", "wo": "down"}
LAST = {"encoder": 1, "decoder": 2}
"""The number of the feed-forward among the parts of a layer."""


class T5(TwoStacks):
    """Both stacks; the head is that of `denoise` or `seq2seq`."""

    keys = (
        Key("d_model", "width", 512),
        Key("d_kv", "head_width", 64),
        Key("d_ff", "ffn.width", 2048),
        Key("num_layers", "layers", 6),
        Key("num_decoder_layers", "decoder_layers"),
        Key("num_heads", "heads", 8),
        Key("relative_attention_num_buckets", "positions.buckets", 32),
        Key("relative_attention_max_distance", "positions.distance", 128),
        Key("dropout_rate", ("dropout", "attention.dropout", "ffn.dropout", "final_dropout"), 0.1),
        Key("layer_norm_epsilon", "norm.eps", 1e-6),
    )
    same = {
        "kind": "encoder_decoder",
        "embedding.kind": "tokens",
        "positions.kind": "bucketed",
        "norm.kind": "rms",
        "join.kind": "pre",
        "attention.kind": "softmax",
        "attention.bias": False,
        "attention.scale": 1.0,
        "ffn.bias": False,
        "init.kind": "t5",
    }
    parts = {kind: {} for kind in SEQ2SEQ}
    twins = dict.fromkeys(
        ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), "shared.weight"
    )
    ignored = (
        *TwoStacks.ignored,
        "EncDecAttention.relative_attention_bias.weight",
    )  # in the released files; no T5 reads it
    classes = (*(({kind}, "T5ForConditionalGeneration") for kind in SEQ2SEQ), (set(), "T5Model"))

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        backbone["decoder_layers"] = backbone["decoder_layers"] or backbone["layers"]
        form = config.get("feed_forward_proj") or "relu"
        name = "gelu_new" if form == "gated-gelu" else form.removeprefix("gated-")  # as transformers reads it
        back = {theirs: ours for ours, theirs in ACTIVATIONS.items()}
        if SYNONYMS.get(name, name) not in back:
            raise InputError(
                f"config.json (t5): feed_forward_proj: {form!r} is not supported\n  known: {', '.join(back)}"
            )
        kind = "gated" if form.startswith("gated-") else "mlp"
        backbone["ffn"] |= {"kind": kind, "activation": back[SYNONYMS.get(name, name)]}

    def found(self, theirs: Mapping[str, Tensor], config: Mapping[str, Any]) -> set[str]:
        if (config.get("architectures") or [""])[0] == "T5Model":
            return set()
        scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))
        return {"denoise"} | ({OWN} if "lm_head.weight" in theirs else set()) | ({SCALED} if scaled else set())

    def has(self, tree: Mapping[str, Any], state: Mapping[str, Tensor]) -> set[str]:
        found = super().has(tree, state)
        heads = [o["head"] for o in tree["objectives"] if o["kind"] in found]
        own, scaled = (any(h.get(k) == v for h in heads) for k, v in (("decoder", "own"), ("scale", "root")))
        return found | ({OWN} if own else set()) | ({SCALED} if scaled else set())

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        head = {"decoder": "own" if OWN in parts else "tied", "scale": "root" if SCALED in parts else "none"}
        return {"kind": part, "head": {"kind": "token", "transform": "none", "bias": False, **head}}

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        ffn = backbone["ffn"]
        form = ("gated-" if ffn["kind"] == "gated" else "") + ACTIVATIONS[ffn["activation"]].removesuffix("_new")
        scaled = SCALED in parts
        tied = {"tie_word_embeddings": scaled or OWN not in parts, "scale_decoder_outputs": scaled}
        pad = facts.get("special", {}).get("pad", 0)
        found = super().config(backbone, parts, facts)
        return found | tied | {"feed_forward_proj": form, "is_encoder_decoder": True, "decoder_start_token_id": pad}

    def class_of(self, parts: set[str]) -> str:
        return super().class_of(parts & set(SEQ2SEQ))

    def table(self, backbone: Mapping[str, Any], parts: set[str]) -> dict[str, Move]:
        out = expand({"shared.weight": "backbone.encoder.embedding.word.weight"}, 0)
        depths = {"encoder": backbone["layers"], "decoder": backbone["decoder_layers"]}
        layers = {"wi": "up", "wo": "down"} if backbone["ffn"]["kind"] == "mlp" else GATED
        for name, depth in depths.items():
            last, ours = f"{name}.block.{{i}}.layer.{LAST[name]}.DenseReluDense.", f"backbone.{name}.blocks.{{i}}.ffn."
            ffn = {f"{last}{theirs}.weight": f"{ours}{mine}.weight" for theirs, mine in layers.items()}
            out |= expand({**stack(name), **ffn}, depth)
            first = f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
            out[first] = Move((f"backbone.{name}.positions.table.weight",))
            out[f"{name}.final_layer_norm.weight"] = Move((f"backbone.{name}.norm.weight",))
        if OWN in parts:
            kind = next(k for k in SEQ2SEQ if k in parts)
            out["lm_head.weight"] = Move((f"objectives.{kind}.head.decoder.weight",))
        return out
