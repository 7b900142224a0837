"""Transformer-XL: memory and relative positions against XLNet's one-way form."""

from __future__ import annotations

import torch
from transformers import XLNetConfig, XLNetModel

from modeledge.core import Batch, Facts, build, find
from modeledge.visibility import see
from modeledge.visibility.causal import causal
from modeledge.visibility.memory import memory

SMALL = {"kind": "transformer_xl", "width": 16, "layers": 3, "heads": 2, "ffn": {"kind": "mlp", "width": 24}}


def model(vocab=30, **changes):
    torch.manual_seed(1)
    config = find("backbones", "transformer_xl").Config.model_validate({**SMALL, **changes})
    return build("backbones", config, Facts(vocab=vocab)).eval()


@torch.no_grad()
def test_states_are_those_of_xlnet_read_one_way_with_its_memory():
    config = dict(d_model=16, n_layer=3, n_head=2, d_inner=24, vocab_size=30, ff_activation="relu", attn_type="uni")
    theirs = XLNetModel(XLNetConfig(**config, mem_len=5, initializer_range=0.3)).eval()
    settings = {"ffn": {"kind": "mlp", "width": 24, "activation": "relu"}, "norm": {"kind": "layer", "eps": 1e-12}}
    ours = model(biases="own", **settings)
    ours.embed.weight.copy_(theirs.word_embedding.weight / 4)  # ours is scaled by the root of the width
    for mine, his in zip(ours.blocks, theirs.layer, strict=True):
        for x in "qkvr":
            getattr(mine.attention, f"to_{x}").weight.copy_(getattr(his.rel_attn, x).flatten(1).T)
        mine.attention.to_o.weight.copy_(his.rel_attn.o.flatten(1))
        mine.attention.content_bias.copy_(his.rel_attn.r_w_bias)
        mine.attention.distance_bias.copy_(his.rel_attn.r_r_bias)
        mine.ffn.up.load_state_dict(his.ff.layer_1.state_dict())
        mine.ffn.down.load_state_dict(his.ff.layer_2.state_dict())
    first, second = torch.randint(0, 30, (2, 2, 5))
    one = theirs(first, use_mems=True)
    two = theirs(second, mems=one.mems, use_mems=True)
    out = ours(Batch(ids=first), see(causal, 2, 5, device="cpu"))
    torch.testing.assert_close(out.states, one.last_hidden_state, atol=1e-5, rtol=0)
    seen = see(memory(5), 2, 5, 10, device="cpu")
    again = ours(Batch(ids=second), seen, memory=torch.stack(out.memory, 1))
    torch.testing.assert_close(again.states, two.last_hidden_state, atol=1e-5, rtol=0)


def test_layers_share_the_two_bias_vectors_unless_each_has_its_own():
    shared, own = model(), model(biases="own")
    count = lambda m: sum(p.numel() for p in m.parameters())  # noqa: E731
    assert count(own) - count(shared) == 2 * 2 * 16  # of three layers two have no vectors of their own
    layer = 5 * 16 * 16 + 2 * 32 + 2 * 16 * 24 + 24 + 16
    assert count(shared) == 30 * 16 + 3 * layer + 2 * 16
