"""A block of GPT and GPT-2 in their Hugging Face form, whose matrices are stored turned ("Conv1D")."""

from __future__ import annotations

from modeledge.interop._encoder import both
from modeledge.interop._names import Names, stacked, turned

AT, OURS = "transformer.h.{i}.", "backbone.blocks.{i}."

BLOCK: Names = {
    **both(AT + "ln_1", OURS + "join_attention.norm"),
    **both(AT + "ln_2", OURS + "join_ffn.norm"),
    **{AT + f"attn.c_attn.{x}": stacked(*(OURS + f"attention.to_{y}.{x}" for y in "qkv")) for x in ("weight", "bias")},
    AT + "attn.c_proj.weight": turned(OURS + "attention.to_out.weight"),
    AT + "attn.c_proj.bias": OURS + "attention.to_out.bias",
    AT + "mlp.c_fc.weight": turned(OURS + "ffn.up.weight"),
    AT + "mlp.c_fc.bias": OURS + "ffn.up.bias",
    AT + "mlp.c_proj.weight": turned(OURS + "ffn.down.weight"),
    AT + "mlp.c_proj.bias": OURS + "ffn.down.bias",
}
