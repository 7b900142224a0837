"""Attention against its formula in double precision, whatever way it is computed."""

import pytest
import torch

from modeledge.core import build, find
from modeledge.layers import Sizes, attention
from modeledge.layers.attention import Across, Cache, Context, Keep, Packed, _blocked, _cache, _packed

SIZES = Sizes(width=12, heads=3, head_width=5)


def softmax(**settings):
    part = build("layers.attention", find("layers.attention", "softmax").Config(kind="softmax", **settings), SIZES)
    return part.double()


def formula(part, x, source, mask, scale):
    """softmax(scale q k^T) v, one head and one query at a time; an empty row gives zeros."""
    q, k, v = (f(y).unflatten(-1, (3, 5)) for f, y in ((part.to_q, x), (part.to_k, source), (part.to_v, source)))
    out = torch.zeros(*q.shape, dtype=x.dtype)
    for b in range(q.shape[0]):
        for h in range(3):
            for t in range(q.shape[1]):
                keys = mask[b, 0, t].nonzero()[:, 0]
                if len(keys):
                    weights = torch.softmax(scale * k[b, keys, h] @ q[b, t, h], 0)
                    out[b, t, h] = weights @ v[b, keys, h]
    return part.to_out(out.flatten(2))


@pytest.mark.parametrize("keep", [(), ("here",)])
@pytest.mark.parametrize("scale", [None, 1.0])
def test_attention_is_its_formula_and_empty_rows_give_zeros(keep, scale):
    part, x = softmax(scale=scale), torch.randn(2, 6, 12, dtype=torch.float64)
    mask = torch.rand(2, 1, 6, 6) < 0.5
    mask[0, 0, 2] = False
    kept = Keep(keep)
    out = part(x, Context("here", mask, keep=kept))
    torch.testing.assert_close(out, formula(part, x, x, mask, scale or 5**-0.5))
    torch.testing.assert_close(out[0, 2], part.to_out.bias)
    if keep:
        sums = kept.found["here"].sum(-1)
        torch.testing.assert_close(sums, mask.any(-1).double().expand_as(sums))


@pytest.mark.parametrize("keep", [(), ("here",)])
def test_gradients_stay_finite_where_a_query_sees_nothing(keep):
    part, x = softmax(), torch.randn(1, 3, 12, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([True, False, True])[None, None, :, None]
    part(x, Context("here", bias.masked_fill(~mask, float("-inf")), keep=Keep(keep))).sum().backward()
    assert x.grad.isfinite().all() and bias.grad.isfinite().all()


@pytest.mark.parametrize("blind", [False, True])
def test_scores_of_fp16_far_below_zero_can_be_masked(blind):
    """fp16 ends at -65,504: what is added there must leave room for the score."""
    q, k = torch.full((1, 1, 2, 4), 20.0), torch.full((1, 1, 3, 4), -20.0)  # scores of -1,600
    k[..., 0] -= torch.arange(3) / 4
    mask = torch.tensor([[not blind, False, not blind], [True, True, True]])[None, None]
    biased = torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))
    wanted = (q @ k.mT + biased).softmax(-1).nan_to_num()
    for given in (mask, biased.half()):
        halves = q.half().requires_grad_(), k.half().requires_grad_()
        weights = attention.weigh(*halves, Context(mask=given), scale=1.0)
        torch.testing.assert_close(weights.float(), wanted, atol=2e-3, rtol=0)
        for gradient in torch.autograd.grad(weights[..., 0].sum(), halves):
            assert gradient.isfinite().all()


@pytest.mark.parametrize("keep", [(), ("here",)])
def test_the_causal_flag_is_the_lower_triangle(keep):
    part, x = softmax(), torch.randn(2, 6, 12, dtype=torch.float64)
    mask = torch.ones(2, 1, 6, 6, dtype=torch.bool).tril()
    torch.testing.assert_close(part(x, Context("here", causal=True, keep=Keep(keep))), part(x, Context(mask=mask)))


def test_cross_attention_reads_the_source_only():
    part, x, source = softmax(), torch.randn(2, 4, 12).double(), torch.randn(2, 7, 12).double()
    mask = torch.ones(2, 1, 4, 7, dtype=torch.bool)
    mask[:, :, :, 5:] = False
    out = part(x, Across("here", mask, source=source))
    torch.testing.assert_close(out, formula(part, x, source, mask, 5**-0.5))


def test_a_cache_keeps_rows_apart_when_they_are_reordered():
    part, x, cache = softmax(), torch.randn(3, 5, 12).double(), Cache()
    part(x[:, :4], Context("here", causal=True, cache=cache))
    order = torch.tensor([2, 0, 0])
    cache.reorder(order)
    last = part(x[order, 4:], Context("here", cache=cache))
    torch.testing.assert_close(last, part(x, Context("here", causal=True))[order, 4:])


def test_patterns_of_keep_name_one_part_each():
    keep = Keep(["blocks.*.attention", "embedding"])
    assert keep.wants("blocks.11.attention") and keep.wants("embedding")
    assert not keep.wants("blocks.1") and not keep.wants("encoder.blocks.1.attention")


def test_dropout_acts_in_training_only():
    part, x = softmax(dropout=0.5), torch.randn(1, 6, 12).double()
    assert not torch.equal(part(x, Context()), part(x, Context()))
    part.eval()
    assert torch.equal(part(x, Context()), part(x, Context()))


def test_dropout_takes_a_share_of_the_weights_and_scales_up_the_others(monkeypatch):
    q, k = torch.randn(2, 4, 4, 64, 8)
    v = torch.eye(64).expand(4, 4, 64, 64)  # what is read is the weights themselves
    weights = attention.attend(q, k, v, Context(), scale=0.3)
    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", None)  # on a CPU torch's way is the slower one
    dropped = attention.attend(q, k, v, Context(), scale=0.3, dropout=0.25)
    gone = dropped == 0
    assert abs(float(gone.double().mean()) - 0.25) < 3 * (0.25 * 0.75 / gone.numel()) ** 0.5
    torch.testing.assert_close(dropped[~gone], weights[~gone] / 0.75)


def masks(t=6):
    """Every form a mask may have, among them rows that see nothing."""
    some = torch.rand(2, 1, t, t) < 0.5
    some[0, 0, 2] = False
    bias = torch.randn(2, 3, t, t).double().masked_fill(~some, float("-inf"))
    return {"none": {}, "causal": {"causal": True}, "bool": {"mask": some}, "float": {"mask": bias}}


@pytest.mark.parametrize("form", ["none", "causal", "bool", "float"])
def test_plain_products_give_the_fused_kernels_output_and_gradients(form, monkeypatch):
    q, k, v = torch.randn(3, 2, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    context, direction = Context(**masks()[form]), torch.randn(2, 3, 6, 5).double()
    found = []
    for plain in (False, True):
        monkeypatch.setattr(attention, "plain_is_faster", lambda *_, plain=plain: plain)
        out = attention.attend(q, k, v, context, scale=0.3)
        found.append((out, *torch.autograd.grad((out * direction).sum(), (q, k, v))))
    for fused, plain in zip(*found, strict=True):
        torch.testing.assert_close(plain, fused)


def test_bf16_on_a_cpu_takes_the_plain_way_and_stays_near_fp32(monkeypatch):
    q, k, v = torch.randn(3, 2, 3, 64, 16)
    exact = attention.attend(q, k, v, Context(), scale=0.25)
    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", None)  # the fused kernel would fail now
    half = attention.attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), Context(), scale=0.25)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("form", [*masks(), "padding", "padding, a view", "a head each", "one for all rows"])
def test_blocks_of_queries_give_the_output_and_gradients_of_plain_products(form, threads, monkeypatch):
    monkeypatch.setattr(_blocked, "BLOCK", 4)
    monkeypatch.setattr(_blocked.torch, "get_num_threads", lambda: threads)
    q, k, v = torch.randn(3, 2, 3, 10, 5, dtype=torch.float64, requires_grad=True)
    valid = torch.arange(10) < torch.tensor([7, 10])[:, None]
    each = torch.rand(2, 3, 10, 10) < 0.4
    made = masks(10) | {
        "padding": {"mask": valid[:, None, None]},
        "padding, a view": {"mask": valid[:, None, None].expand(2, 1, 10, 10)},
        "a head each": {"mask": each},
        "one for all rows": {"mask": each[:1, :1]},
    }
    context, direction = Context(**made[form]), torch.randn(2, 3, 10, 5).double()
    monkeypatch.setattr(attention, "plain_is_faster", lambda *_: True)
    plain = attention.attend(q, k, v, context, scale=0.3)
    out = _blocked.blocked(q, k, v, context.mask, causal=context.causal, scale=0.3)
    torch.testing.assert_close(out, plain)
    ours, known = (torch.autograd.grad((x * direction).sum(), (q, k, v)) for x in (out, plain))
    for mine, his in zip(ours, known, strict=True):
        torch.testing.assert_close(mine, his, rtol=1e-5, atol=1e-6)  # sums over blocks are in fp32


def test_long_rows_in_bf16_are_read_in_blocks_backwards_where_there_are_matrix_units(monkeypatch):
    monkeypatch.setattr(attention, "SHORTEST_BLOCKED", 600)
    q, k, v = torch.randn(3, 1, 2, 600, 16).bfloat16()
    direction, grads = torch.randn(1, 2, 600, 16).bfloat16(), []
    learned = torch.zeros(1, 2, 600, 600, dtype=torch.bfloat16, requires_grad=True)
    for units, mask in ((False, None), (True, None), (True, learned)):
        monkeypatch.setattr(attention, "matrix_units", lambda units=units: units)
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        out = attention.attend(*inputs, Context(mask=mask), scale=0.25)
        assert ("Blocked" in type(out.grad_fn).__name__) == (units and mask is None)
        grads.append(torch.autograd.grad(out, inputs, direction))
    assert "Blocked" not in type(attention.attend(q, k, v, Context(), scale=0.25).grad_fn).__name__
    for kernel, blocks in zip(*grads[:2], strict=True):
        torch.testing.assert_close(blocks.float(), kernel.float(), atol=0.02, rtol=0.05)


@pytest.mark.parametrize("steps", [16, 1])
def test_packed_tokens_return_to_their_rows_and_so_do_gradients(steps, monkeypatch):
    monkeypatch.setattr(_packed, "STEPS", steps)
    valid = torch.tensor([[True, True, False, False], [False, True, True, True], [True, False, False, False]])
    packed, x = Packed(valid), torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    inner = packed.pack(x)
    assert torch.equal(inner[0, :6], x[valid]) and inner.shape[1] == (6 if steps > 1 else 8)
    back = packed.pad(inner * 2)
    assert torch.equal(back[valid], 2 * x[valid]) and (back[~valid] == 0).all()
    direction = torch.randn(3, 4, 2).double()
    (grad,) = torch.autograd.grad((back * direction).sum(), x)
    torch.testing.assert_close(grad, 2 * direction * valid[..., None])


def test_packed_batches_have_few_sizes_and_little_to_spare():
    sizes = [_packed.round_up(n) for n in range(1, 8193)]
    assert all(0 <= size - n <= n / 16 for n, size in enumerate(sizes, start=1))
    assert all(len({s for s in sizes if lo < s <= 2 * lo}) == 16 for lo in (64, 512, 4096))
    assert _packed.round_up(0) == 0


def test_a_cache_forgets_as_many_tokens_as_it_is_told():
    for n in (0, 2):
        cache, k = Cache(), torch.randn(1, 2, 5, 3)
        cache.extend("here", k, k)
        cache.length = 5
        cache.forget(n)
        assert cache.length == 5 - n and torch.equal(cache.pairs["here"][0], k[:, :, : 5 - n])


@torch.no_grad()
def test_a_cache_is_what_was_appended_and_hardly_more_is_copied(monkeypatch):
    """Token by token, with some forgotten and rows reordered on the way, as a plain list of them has it."""
    copied, plain = [], _cache._wider
    monkeypatch.setattr(_cache, "_wider", lambda held, places: copied.append(held.shape[2]) or plain(held, places))
    cache, wanted = Cache(), torch.empty(3, 2, 0, 4)
    for step in range(300):
        new = torch.randn(3, 2, 1 + step % 2, 4)
        wanted = torch.cat([wanted, new], 2)
        k, v = cache.extend("here", new, -new)
        cache.length = wanted.shape[2]
        assert torch.equal(k, wanted) and torch.equal(v, -wanted)
        if step % 7 == 0:
            cache.forget(1)
            wanted = wanted[:, :, :-1]
        if step == 150:
            cache.reorder(torch.tensor([2, 0, 0]))
            wanted = wanted[[2, 0, 0]]
    assert sum(copied) < 5 * wanted.shape[2]
