"""XLNet. Source of the names: transformers' XLNetLMHeadModel, whose projections hold the heads as a dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from modeledge.interop._encoder import both
from modeledge.interop._names import Move, boxed
from modeledge.interop._port import Port
from modeledge.interop._settings import Key, activation

AT, OURS = "transformer.layer.{i}.", "backbone.blocks.{i}."


def headed(name: str, heads: int, *, turned: bool = True) -> Move:
    """Theirs is d h dh; ours (h dh) d where it was turned, else d (h dh)."""

    def split(theirs: Tensor) -> list[Tensor]:
        flat = theirs.flatten(1)
        return [flat.T if turned else flat]

    def join(ours: list[Tensor]) -> Tensor:
        return (ours[0].T if turned else ours[0]).unflatten(1, (heads, -1))

    return Move((name,), split, join)


class XLNet(Port):
    """The content stream's tensors; what rows remember of the rows before belongs to a run and is left behind."""

    keys = (
        Key("d_model", "width", 1024),
        Key("n_layer", "layers", 24),
        Key("n_head", "heads", 16),
        Key("d_inner", "ffn.width", 4096),
        activation("ff_activation", "ffn.activation", "gelu"),
        Key("dropout", ("dropout", "attention_dropout", "ffn.dropout"), 0.1),
        Key("layer_norm_eps", "norm.eps", 1e-12),
        Key("initializer_range", "std", 0.02),
    )
    same = {"kind": "two_stream", "norm.kind": "layer", "join.kind": "post", "ffn.kind": "mlp"}
    prefix = "transformer."
    body = {
        "transformer.mask_emb": boxed("backbone.start", 2),
        "transformer.word_embedding.weight": "backbone.embed.weight",
        AT + "rel_attn.r_w_bias": OURS + "attention.content_bias",
        AT + "rel_attn.r_r_bias": OURS + "attention.distance_bias",
        AT + "rel_attn.r_s_bias": OURS + "attention.segment_bias",
        AT + "rel_attn.seg_embed": OURS + "attention.segments",
        **both(AT + "rel_attn.layer_norm", OURS + "join_attention.norm"),
        **both(AT + "ff.layer_norm", OURS + "join_ffn.norm"),
        **both(AT + "ff.layer_1", OURS + "ffn.up"),
        **both(AT + "ff.layer_2", OURS + "ffn.down"),
    }
    parts = {"plm": {"lm_loss.bias": "objectives.plm.head.bias"}}
    twins = {"lm_loss.weight": "transformer.word_embedding.weight"}
    classes = (({"plm"}, "XLNetLMHeadModel"), (set(), "XLNetModel"))

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        self.refuse(config, attn_type=("bi",), bi_data=(False,), untie_r=(True,))
        clamp = config.get("clamp_len", -1)
        backbone["clamp"] = clamp if clamp > 0 else None

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        return {"kind": part, "head": {"kind": "token", "transform": "none"}}

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        found = super().config(backbone, parts, facts)
        more = {
            "clamp_len": backbone["clamp"] or -1,
            "attn_type": "bi",
            "d_head": backbone["width"] // backbone["heads"],
        }
        return found | more | {"untie_r": True}

    def companions(
        self, tree: Mapping[str, Any], state: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, tuple[dict[str, Any], dict[str, Tensor]]]]:
        return {n: t for n, t in state.items() if not n.startswith("objectives.plm.memory.")}, {}

    def table(self, backbone: Mapping[str, Any], parts: set[str]) -> dict[str, Move]:
        out = super().table(backbone, parts)
        for i in range(backbone["layers"]):
            at, ours = f"transformer.layer.{i}.rel_attn.", f"backbone.blocks.{i}.attention."
            for x in "qkvr":
                out[at + x] = headed(f"{ours}to_{x}.weight", backbone["heads"])
            out[at + "o"] = headed(f"{ours}to_o.weight", backbone["heads"], turned=False)
        return out
