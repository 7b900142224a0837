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
from modeledge.visibility.full import full
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


@pytest.mark.parametrize(("band", "side"), [(1, 0), (4, 2), (5, 2), (40, 20)])
def test_a_band_around_a_token_has_half_of_it_on_either_side(band, side):
    """As ModernBERT's window does in transformers: distances up to half of it."""
    x, sizes = torch.randn(2, 11, 16), Sizes(16, 2, 8, layer=1)
    found = layer("banded", sizes, bands=[None, band], around=True)(x, Context())
    mask = torch.tensor([[abs(q - k) <= side for k in range(11)] for q in range(11)])
    wanted = layer("softmax", sizes)(x, Context(mask=mask[None, None]))
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize("shown", ["all", "causal", "real tokens", "causal real tokens"])
def test_in_long_rows_a_band_is_read_in_blocks_with_the_same_result_and_gradient(shown, around, t=301):
    x, sizes = torch.randn(2, t, 16, requires_grad=True), Sizes(16, 2, 8, layer=1)
    real = torch.arange(t) < torch.tensor([[t], [190]])
    rules = {"all": full, "causal": causal, "real tokens": valid(real), "causal real tokens": both(causal, valid(real))}
    seen = see(rules[shown], 2, t, device="cpu")
    context = Context(mask=seen.mask, causal=seen.causal)
    far = torch.arange(t)[:, None] - torch.arange(t)
    near = (far.abs() <= 4) if around else (far >= 0) & (far < 9)
    allowed = near if seen.mask is None else near & seen.mask
    allowed = allowed & (far >= 0) if seen.causal else allowed
    own, plain = layer("banded", sizes, bands=[None, 9], around=around), layer("softmax", sizes)
    narrowed = own.narrow(context, *[torch.zeros(2, 2, t, 8)] * 2)
    assert narrowed.mask is None and narrowed.near.rows.shape[-1] < t / 2
    weights = torch.randn(2, t, 16) * real[..., None]
    found, wanted = own(x, context), plain(x, Context(mask=allowed.expand(2, 1, t, t)))
    torch.testing.assert_close(found * real[..., None], wanted * real[..., None], atol=1e-6, rtol=0)
    grads = [torch.autograd.grad((states * weights).sum(), x)[0] for states in (found, wanted)]
    torch.testing.assert_close(*grads, atol=1e-5, rtol=0)


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
    return lambda context, q, k: replace(
        context,
        mask=context.mask & (torch.arange(k.shape[2]) >= torch.arange(q.shape[2])[:, None] - attention.reach[0]),
        causal=False,
    )


@torch.no_grad()
def test_a_stack_read_piece_by_piece_from_a_cache_equals_the_whole():
    attention = {"kind": "banded", "bands": [None, 3]}
    config = {"kind": "transformer", "width": 16, "layers": 4, "heads": 2, "join": "pre", "attention": attention}
    backbone = build(
        "backbones", find("backbones", "transformer").Config.model_validate(config), Facts(vocab=30)
    ).eval()
    assert [block.attention.reach for block in backbone.blocks] == [None, (2, 0), None, (2, 0)]
    ids, cache = torch.randint(0, 30, (2, 12)), backbone.new_cache()
    whole = backbone(Batch(ids=ids), see(causal, 2, 12, device="cpu")).states
    at = 0
    for piece in ids.split([5, 1, 1, 5], 1):
        seen = see(causal, *piece.shape, device="cpu", start=at)
        found = backbone(Batch(ids=piece), seen, cache=cache).states
        torch.testing.assert_close(found, whole[:, at : at + piece.shape[1]], atol=1e-5, rtol=0)
        at += piece.shape[1]
