"""Blocks that a mask leaves against all pairs under it: what is read, the gradients, and how much is read."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import create_block_mask

from modeledge.core import Batch, Facts, build, find
from modeledge.layers import attention
from modeledge.layers.attention import Context, Keep, attend, skipping
from modeledge.layers.attention._flex import flexed
from modeledge.layers.attention._sparse import SHARE, sparse
from modeledge.visibility import Seen, both, either, see
from modeledge.visibility.causal import causal
from modeledge.visibility.document import document
from modeledge.visibility.valid import valid
from modeledge.visibility.window import window

T = 1024
torch.manual_seed(3)
DOCS = (torch.rand(2, T) < 0.012).long().cumsum(1)
DRAWN = torch.rand(T // 64, T // 64).argsort(1)[:, :2]
RANDOM = torch.zeros(T // 64, T // 64, dtype=torch.bool).scatter_(1, DRAWN, torch.ones_like(DRAWN, dtype=torch.bool))


def heads(b, h, q, k):
    """Two heads that see different things."""
    return ((h == 0) & ((q - k).abs() < 40)) | ((h == 1) & (q // 128 == k // 128))


def first(n):
    return lambda b, h, q, k: (q < n) | (k < n)


RULES = {
    "documents": document(DOCS),
    "documents, causal": both(causal, document(DOCS)),
    "documents with a prefix": both(document(DOCS), lambda b, h, q, k: (k <= q) | (k % 100 < 30)),
    "window and global": either(window(40, 40), first(3)),
    "dilated": lambda b, h, q, k: ((q - k).abs() <= 128) & ((q - k) % 2 == 0),
    "global to a few": either(window(84, 84), lambda b, h, q, k: (k < 64) | ((q < 64) & (k < 512))),
    "bigbird": either(lambda b, h, q, k: (q // 64 - k // 64).abs() <= 1, lambda b, h, q, k: RANDOM[q // 64, k // 64]),
    "star": lambda b, h, q, k: ((q - k).abs() <= 1) | (k == 500) | (q == 500),
    "strided": lambda b, h, q, k: (k <= q) & ((q - k < 128) | ((q - k) % 256 == 0)),
    "fixed": lambda b, h, q, k: (k <= q) & ((q // 256 == k // 256) | (k % 256 >= 248)),
    "a head each": heads,
    "somebody sees nothing": both(window(50, 50), lambda b, h, q, k: (q > 130) & (q != 700) & (k > 90)),
}


def dense(rule, b, t, h=2):
    index, rows, kinds = torch.arange(t), torch.arange(b).view(b, 1, 1, 1), torch.arange(h).view(1, h, 1, 1)
    mask = rule(rows, kinds, index[:, None], index)
    mask = mask if mask.dim() == 4 else mask[None, None]
    return mask.expand(b, mask.shape[1], t, t)


def inputs(b, t, dtype=torch.float32, dh=8):
    torch.manual_seed(0)
    q, k, v, weight = (torch.randn(b, t, 2, dh, dtype=dtype).transpose(1, 2) for _ in range(4))
    return [x.detach().requires_grad_() for x in (q, k, v)], weight


def plain(x, mask, weight):
    """Every pair, as torch computes it, and the gradients; zeros where nothing is seen."""
    read = F.scaled_dot_product_attention(*x, attn_mask=mask, scale=0.3)
    return read, torch.autograd.grad((read * weight).sum(), x)


@pytest.mark.parametrize("t", [T, pytest.param(900, marks=pytest.mark.contract)])
@pytest.mark.parametrize("name", RULES)
def test_what_is_read_and_the_gradients_are_those_of_all_pairs(name, t):
    mask = dense(RULES[name], 2, t)
    x, weight = inputs(2, t)
    context = Context(mask=mask)
    assert skipping(x[0], x[1], context) is not None
    read = attend(*x, context, scale=0.3)
    wanted, theirs = plain(x, mask, weight)
    torch.testing.assert_close(read, wanted, atol=1e-5, rtol=1e-5)
    for mine, their in zip(torch.autograd.grad((read * weight).sum(), x), theirs, strict=True):
        torch.testing.assert_close(mine, their, atol=2e-5, rtol=1e-4)
    if name == "somebody sees nothing":
        assert not read[:, :, :131].any() and not read[:, :, 700].any()


@pytest.mark.contract
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", RULES)
def test_flex_attention_reads_the_same(name):
    x, _ = inputs(2, T, dh=16)
    x = [y.detach() for y in x]
    blocks = create_block_mask(RULES[name], 2, 2, T, T, device="cpu")
    read = attend(*x, Context(mask=dense(RULES[name], 2, T)), scale=0.3)
    torch.testing.assert_close(read, flexed(*x, blocks, scale=0.3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_blocks_are_read_where_something_is_seen_and_few_others(name):
    mask, n = dense(RULES[name], 2, T), T // 64
    found = sparse(mask)
    there = mask.unflatten(3, (n, 64)).unflatten(2, (n, 64)).any(1).any(4).any(2)  # b n n, by another way
    asked = torch.zeros(2 * n, 2 * n, dtype=torch.bool)
    for group in found.groups:
        assert group.mask.shape[-1] == 64 * group.keys.shape[1]
        for query, keys, seen in zip(group.queries, group.keys, group.mask, strict=True):
            shown = seen.any(0).any(0).unflatten(0, (-1, 64)).any(1)
            assert not asked[query].any() and len(keys.unique()) == len(keys)
            asked[query, keys[shown]] = True
    assert torch.equal(asked, torch.block_diag(*there))
    read = sum(group.keys.numel() for group in found.groups)
    assert int(there.sum()) <= read <= min(SHARE * 2 * n * n, 1.25 * int(there.sum()) + 2 * n)
    assert torch.equal(torch.cat([g.queries for g in found.groups]).sort().values, torch.arange(2 * n))


def test_a_mask_that_hides_little_is_left_to_others():
    x, _ = inputs(2, T)
    real = torch.arange(T) < torch.tensor([[T], [200]])
    for mask in (dense(causal, 2, T), dense(valid(real), 2, T), real[:, None, None], torch.rand(2, 1, T, T) < 0.1):
        assert skipping(x[0], x[1], Context(mask=mask)) is None
    short = dense(document(DOCS[:, :256]), 2, 256)
    assert skipping(x[0][:, :, :256], x[1][:, :, :256], Context(mask=short)) is None
    documents = dense(RULES["documents"], 2, T)
    kept = Context("blocks.0.attention", mask=documents, keep=Keep(["blocks.*.attention"]))
    assert skipping(x[0], x[1], kept) is None and skipping(x[0], x[1], Context(mask=documents.float())) is None


def test_layers_of_one_mask_look_at_it_once(monkeypatch):
    looked = []
    monkeypatch.setattr(attention, "sparse", lambda mask: looked.append(mask) or sparse(mask))
    x, _ = inputs(2, T)
    # one block of keys a block of queries: those parts have as many keys as queries, and are not looked at again
    context = Context(mask=dense(lambda b, h, q, k: q // 64 == k // 64, 2, T))
    for _ in range(3):
        attend(*x, context, scale=0.3)
    assert len(looked) == 1
    other = Context(mask=dense(RULES["star"], 2, T), made=context.made)
    for one in (other, context, other):
        wanted, _ = plain(x, one.mask, torch.ones(()))
        torch.testing.assert_close(attend(*x, one, scale=0.3), wanted, atol=1e-5, rtol=1e-5)
    assert len(looked) == 2


def test_what_nobody_sees_changes_nothing():
    mask = dense(both(window(40, 40), lambda b, h, q, k: (k < 300) | (k >= 420)), 2, T)
    (q, k, v), _ = inputs(2, T)
    read = attend(q, k, v, Context(mask=mask), scale=0.3)
    with torch.no_grad():
        k[:, :, 300:420], v[:, :, 300:420] = 100.0, -1e4
    assert torch.equal(read, attend(q, k, v, Context(mask=mask), scale=0.3))


def test_gradients_of_keys_that_all_see_are_added_in_full_precision():
    mask = dense(RULES["window and global"], 2, T)
    x, weight = inputs(2, T, torch.bfloat16)
    exact = [y.detach().double().requires_grad_() for y in x]
    _, wanted = plain(exact, mask, weight.double())
    read = attend(*x, Context(mask=mask), scale=0.3)
    found = torch.autograd.grad((read * weight).sum(), x)
    for mine, right in zip(found[1:], wanted[1:], strict=True):  # of the first keys, sums over all queries
        off = (mine[:, :, :3].double() - right[:, :, :3]).norm() / right[:, :, :3].norm()
        assert off < 0.01  # a thousand additions in bf16 would be off by far more


def test_dropout_drops_its_share_of_what_is_seen():
    mask = dense(RULES["documents"], 2, T)
    x, _ = inputs(2, T)
    x[2] = torch.ones_like(x[2])
    torch.manual_seed(0)
    read = attend(*x, Context(mask=mask), scale=0.0, dropout=0.25).detach()
    assert abs(float(read.mean()) - 1) < 0.01 and float(read.std()) > 0.01


@pytest.mark.parametrize("kind", ["softmax", "banded"])
@pytest.mark.parametrize("padded", [False, True])
def test_a_stack_on_rows_of_documents_is_that_of_dense_attention(monkeypatch, kind, padded):
    torch.manual_seed(0)
    tree = {"kind": "transformer", "width": 16, "layers": 2, "heads": 2, "positions": {"kind": "rotary"}}
    config = find("backbones", "transformer").Config.model_validate({**tree, "attention": {"kind": kind}})
    backbone = build("backbones", config, Facts(vocab=30))
    batch, rule = Batch(ids=torch.randint(0, 30, (2, T)), doc=DOCS), document(DOCS)
    if padded:
        batch["valid"] = torch.arange(T) < torch.tensor([[T], [T // 3]])
        rule = both(rule, valid(batch.valid))
    real = batch.valid[..., None] if padded else torch.ones(())
    weight = torch.randn(2, T, 16) * real

    def run(seen):
        backbone.zero_grad()
        states = backbone(batch, seen).states * real
        (states * weight).sum().backward()
        return states, [p.grad for p in backbone.parameters() if p.grad is not None]

    looked = []
    monkeypatch.setattr(attention, "sparse", lambda mask: looked.append(sparse(mask)) or looked[-1])
    states, grads = run(see(rule, 2, T, device="cpu"))
    assert [s is not None for s in looked] == [True]
    monkeypatch.setattr(attention, "SHORTEST_SPARSE", 10**9)
    wanted, theirs = run(Seen(dense(rule, 2, T)))
    torch.testing.assert_close(states, wanted, atol=1e-5, rtol=1e-5)
    for mine, their in zip(grads, theirs, strict=True):
        torch.testing.assert_close(mine, their, atol=1e-5 * float(their.abs().max().clamp(min=1)), rtol=1e-4)


def test_heads_and_rows_that_see_the_same_share_a_mask():
    mask = dense(RULES["star"], 2, T)
    x, weight = inputs(2, T)
    shared = mask[:1, :1].expand(2, 2, T, T)
    assert all(group.mask.shape[1] == 1 for group in sparse(shared).groups)
    read, (wanted, _) = attend(*x, Context(mask=shared), scale=0.3), plain(x, shared, weight)
    torch.testing.assert_close(read, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attend(*x, Context(mask=mask[:1]), scale=0.3), wanted, atol=1e-5, rtol=1e-5)


def test_without_a_mask_nothing_is_looked_at():
    x, _ = inputs(2, T)
    assert skipping(x[0], x[1], Context()) is None
