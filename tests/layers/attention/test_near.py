"""Bands read in blocks against the dense mask of the same rule: what is read, and the gradients."""

from __future__ import annotations

import pytest
import torch

from modeledge.core import Batch, Facts, build, find, kinds
from modeledge.visibility import Near, Seen, both, draw, see
from modeledge.visibility.causal import causal
from modeledge.visibility.document import document
from modeledge.visibility.full import full
from modeledge.visibility.valid import valid
from modeledge.visibility.window import window


def stack(**settings):
    torch.manual_seed(0)
    tree = {"kind": "transformer", "width": 16, "layers": 2, "heads": 2, "positions": {"kind": "rotary"}, **settings}
    backbone = build("backbones", find("backbones", "transformer").Config.model_validate(tree), Facts(vocab=30))
    for p in backbone.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return backbone


def run(backbone, batch, seen, weight):
    """States at real tokens, and the gradient of every parameter."""
    backbone.zero_grad()
    states = backbone(batch, seen).states
    states = states if "valid" not in batch else states * batch.valid[..., None]
    (states * weight).sum().backward()
    return states, {n: p.grad for n, p in backbone.named_parameters() if p.grad is not None}


def batch_of(b, t, *, docs=False, padded=False):
    torch.manual_seed(1)
    batch = Batch(ids=torch.randint(0, 30, (b, t)))
    if docs:
        batch["doc"] = (torch.rand(b, t) < 0.05).long().cumsum(1)
    if padded:
        batch["valid"] = torch.arange(t) < torch.tensor([[t], [t // 3]])
    return batch


RULES = {
    "both ways": window(20, 20),
    "back": window(30),
    "lopsided": window(3, 9),
    "causal": both(causal, window(40, 40)),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("extra", [{}, {"docs": True}, {"padded": True}, {"docs": True, "padded": True}])
@pytest.mark.parametrize("t", [256, 301])
def test_blocks_give_what_the_dense_mask_gives(name, extra, t):
    batch, rule = batch_of(2, t, **extra), RULES[name]
    rule = both(rule, document(batch.doc)) if "doc" in batch else rule
    rule = both(rule, valid(batch.valid)) if "valid" in batch else rule
    seen = see(rule, 2, t, device="cpu")
    assert isinstance(seen, Near)
    index = torch.arange(t)
    rows, heads = torch.arange(2).view(2, 1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long)
    dense = rule(rows, heads, index[:, None], index).expand(2, 1, t, t)
    assert torch.equal(seen.mask, dense)
    weight, backbone = torch.randn(2, t, 16), stack()
    states, grads = run(backbone, batch, seen, weight)
    wanted, their = run(backbone, batch, Seen(dense), weight)
    torch.testing.assert_close(states, wanted, atol=1e-5, rtol=1e-5)
    for n, grad in grads.items():
        torch.testing.assert_close(grad, their[n], atol=1e-5 * float(their[n].abs().max().clamp(min=1)), rtol=1e-4)


def test_a_query_that_sees_nothing_reads_zeros_and_gives_finite_gradients():
    batch = batch_of(2, 256)
    nobody = torch.zeros(2, 256, dtype=torch.bool)
    nobody[:, :100] = True
    seen = see(both(window(8, 8), valid(nobody)), 2, 256, device="cpu")
    states, grads = run(stack(layers=1, join={"kind": "pre"}), batch, seen, torch.ones(2, 256, 16))
    wanted, _ = run(stack(layers=1, join={"kind": "pre"}), batch, Seen(seen.mask), torch.ones(2, 256, 16))
    torch.testing.assert_close(states, wanted, atol=1e-5, rtol=1e-5)
    assert all(g.isfinite().all() for g in grads.values())


@pytest.mark.parametrize("kind", kinds("layers.attention"))
@pytest.mark.parametrize("positions", sorted(set(kinds("layers.positions")) - {"grid"}))  # grid: pictures
def test_every_kind_of_attention_and_positions_keeps_to_the_band(kind, positions):
    backbone = stack(attention={"kind": kind}, positions={"kind": positions}, layers=1).eval()
    batch = batch_of(2, 256)
    seen = see(both(causal, window(9)), 2, 256, device="cpu")
    assert isinstance(seen, Near)
    torch.testing.assert_close(
        backbone(batch, seen).states, backbone(batch, Seen(seen.mask)).states, atol=1e-5, rtol=1e-5
    )


def test_weights_that_were_asked_for_are_those_of_whole_rows():
    seen = see(window(9, 9), 2, 256, device="cpu")
    out = stack()(batch_of(2, 256), seen, keep=("blocks.*.attention",))
    weights = out.kept["blocks.1.attention"]
    assert weights.shape == (2, 2, 256, 256) and not weights.masked_fill(seen.mask, 0).any()


def test_only_bands_that_are_short_for_the_row_are_read_in_blocks():
    for rule in (full, causal, document(torch.zeros(2, 256, dtype=torch.long)), window(64, 64)):
        assert not isinstance(see(rule, 2, 256, device="cpu"), Near)
    assert not isinstance(see(window(8), 2, 1, device="cpu", start=500), Near)
    assert draw(window(1, 0), 3) == ["#..", "##.", ".##"]


def test_bf16_blocks_follow_fp32():
    batch, backbone = batch_of(2, 512), stack()
    seen = see(window(20, 20), 2, 512, device="cpu")
    wanted = backbone(batch, seen).states
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = backbone(batch, seen).states
    assert (found.float() - wanted).norm() < 0.02 * wanted.norm()
