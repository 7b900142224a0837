"""The choices of later models put together: normalised queries and keys, rotation, gates, no biases."""

from __future__ import annotations

import torch
from transformers import Qwen3Config, Qwen3Model

from modeledge.core import Batch, Facts, build, find
from modeledge.visibility import Seen

RMS = {"kind": "rms", "eps": 1e-6}
SETTINGS = {
    "width": 24,
    "layers": 2,
    "heads": 3,
    "positions": "rotary",
    "norm": RMS,
    "join": "pre",
    "attention": {"kind": "softmax", "bias": False, "norm": RMS},
    "ffn": {"kind": "gated", "width": 40, "activation": "silu", "bias": False},
}
NAMES = {
    "embed_tokens": "embedding.word",
    "layers": "blocks",
    "self_attn.q_proj": "attention.to_q",
    "self_attn.k_proj": "attention.to_k",
    "self_attn.v_proj": "attention.to_v",
    "self_attn.o_proj": "attention.to_out",
    "self_attn.q_norm": "attention.norm_q",
    "self_attn.k_norm": "attention.norm_k",
    "mlp.gate_proj": "ffn.gate",
    "mlp.up_proj": "ffn.up",
    "mlp.down_proj": "ffn.down",
    "input_layernorm": "join_attention.norm",
    "post_attention_layernorm": "join_ffn.norm",
}


def test_the_states_are_those_of_qwen3():
    config = Qwen3Config(
        vocab_size=30,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=8,
        intermediate_size=40,
        initializer_range=0.3,
    )
    theirs = Qwen3Model(config).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.2 * torch.randn_like(p))  # gains away from one
    made = find("backbones", "transformer").Config.model_validate({"kind": "transformer", **SETTINGS})
    ours = build("backbones", made, Facts(vocab=30)).eval()
    weights = {}
    for name, tensor in theirs.state_dict().items():
        for old, new in NAMES.items():
            name = name.replace(old, new)
        weights[name] = tensor
    ours.load_state_dict(weights)
    ids = torch.randint(30, (2, 11))
    with torch.no_grad():
        states = ours(Batch(ids=ids), Seen(causal=True)).states
        torch.testing.assert_close(states, theirs(ids).last_hidden_state, atol=1e-5, rtol=1e-5)


def test_a_stack_that_begins_with_zero_branches_is_the_normed_embedding():
    settings = SETTINGS | {"init": {"kind": "normal", "residual": "zero"}}
    made = find("backbones", "transformer").Config.model_validate({"kind": "transformer", **settings})
    ours = build("backbones", made, Facts(vocab=30)).eval()
    ids = torch.arange(30)[None]
    x = ours.embed.weight
    wanted = x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    torch.testing.assert_close(ours(Batch(ids=ids)).states[0], wanted)
