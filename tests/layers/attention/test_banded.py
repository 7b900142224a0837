"""Attention in bands against a dense boolean mask, alone and in a stack that takes turns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from modeledge.core import Batch, Facts, build, find
from modeledge.engine.recompute import recompute
from modeledge.layers import Sizes
from modeledge.layers.attention import Context, banded
from modeledge.visibility import both, see
from modeledge.visibility.causal import causal
from modeledge.visibility.valid import valid


def layer(kind, sizes, **settings):
    torch.manual_seed(0)
    config = find("layers.attention", kind).Config.model_validate({"kind": kind, **settings})
    return build("layers.attention", config, sizes).eval()


@pytest.mark.parametrize(("number", "band"), [(0, None), (1, 4), (2, None), (3, 4)])
def test_a_token_of_an_odd_layer_sees_itself_and_the_tokens_before_it_up_to_the_band(number, band):
    x, sizes = torch.randn(2, 11, 16), Sizes(16, 2, 8, layers=4, layer=number)
    found = layer("banded", sizes, bands=[None, 4])(x, Context(causal=True))
    mask = torch.tensor([[k <= q and (band is None or k > q - band) for k in range(11)] for q in range(11)])
    wanted = layer("softmax", sizes)(x, Context(mask=mask[None, None]))
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_a_band_narrows_whatever_else_may_be_seen():
    x, sizes = torch.randn(2, 9, 16), Sizes(16, 2, 8, layer=1)
    real = torch.arange(9) < torch.tensor([[9], [6]])
    seen = see(both(causal, valid(real)), 2, 9, device="cpu")
    near = torch.tensor([[q - 3 < k <= q for k in range(9)] for q in range(9)])
    own, plain = layer("banded", sizes, bands=[None, 3]), layer("softmax", sizes)
    wanted = plain(x, Context(mask=seen.mask & near))
    torch.testing.assert_close(own(x, Context(mask=seen.mask)), wanted, atol=1e-6, rtol=0)
    bias = torch.randn(1, 2, 9, 9).masked_fill(~seen.mask, float("-inf"))
    wanted = plain(x, Context(mask=bias.masked_fill(~near, float("-inf"))))
    torch.testing.assert_close(own(x, Context(mask=bias)), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("what", [None, "full", "selective"])
def test_layers_of_one_band_share_its_mask(monkeypatch, what):
    """And the gradients are those of a mask for each, recomputed or not."""
    config = {"width": 16, "layers": 4, "heads": 2, "attention": {"kind": "banded", "bands": [None, 3]}}
    config = find("backbones", "transformer").Config.model_validate({"kind": "transformer", **config})
    backbone = build("backbones", config, Facts(vocab=30)).train()
    real, ids = torch.arange(9) < torch.tensor([[9], [6]]), torch.randint(0, 30, (2, 9))
    seen = see(both(causal, valid(real)), 2, 9, device="cpu")
    for block in backbone.blocks[1::2]:
        block.attention.narrow = apart(block.attention)
    wanted = torch.autograd.grad(backbone(Batch(ids=ids), seen).states.square().sum(), backbone.embedding.word.weight)
    made, plain = [], banded.in_band
    monkeypatch.setattr(banded, "in_band", lambda *args: made.append(1) or plain(*args))
    for block in backbone.blocks[1::2]:
        del block.attention.narrow
    if what is not None:
        recompute(backbone, what)
    found = torch.autograd.grad(backbone(Batch(ids=ids), seen).states.square().sum(), backbone.embedding.word.weight)
    assert len(made) == 1
    torch.testing.assert_close(found, wanted)


def apart(attention):
    """What a layer of a band sees, made for itself."""
    return lambda context, t, s, device: replace(
        context, mask=context.mask & (torch.arange(s) > torch.arange(t)[:, None] - attention.band), causal=False
    )


@torch.no_grad()
def test_a_stack_read_piece_by_piece_from_a_cache_equals_the_whole():
    attention = {"kind": "banded", "bands": [None, 3]}
    config = {"kind": "transformer", "width": 16, "layers": 4, "heads": 2, "join": "pre", "attention": attention}
    backbone = build(
        "backbones", find("backbones", "transformer").Config.model_validate(config), Facts(vocab=30)
    ).eval()
    assert [block.attention.band for block in backbone.blocks] == [None, 3, None, 3]
    ids, cache = torch.randint(0, 30, (2, 12)), backbone.new_cache()
    whole = backbone(Batch(ids=ids), see(causal, 2, 12, device="cpu")).states
    at = 0
    for piece in ids.split([5, 1, 1, 5], 1):
        seen = see(causal, *piece.shape, device="cpu", start=at)
        found = backbone(Batch(ids=piece), seen, cache=cache).states
        torch.testing.assert_close(found, whole[:, at : at + piece.shape[1]], atol=1e-5, rtol=0)
        at += piece.shape[1]
