"""The two-stream backbone against XLNet of transformers, and what its masks promise."""

import pytest
import torch
from transformers import XLNetConfig, XLNetModel

from modeledge.backbones.two_stream import Query, TwoStream
from modeledge.core import Batch, Facts, RecipeError, find
from modeledge.visibility import Seen, see
from modeledge.visibility.causal import causal
from modeledge.visibility.memory import after_memory, memory
from modeledge.visibility.permutation import content, query

V, D, H, L, B, T = 40, 16, 2, 3, 2, 8


def backbone(**changes):
    torch.manual_seed(1)
    settings = {
        "kind": "two_stream",
        "width": D,
        "layers": L,
        "heads": H,
        "ffn": {"kind": "mlp", "width": 24},
        "std": 0.3,
    }
    kind = find("backbones", "two_stream")
    return kind(kind.Config.model_validate(settings | changes), Facts(vocab=V)).eval()


def twin(ours, **changes):
    """XLNet of transformers with the weights of ours."""
    config = XLNetConfig(vocab_size=V, d_model=D, n_layer=L, n_head=H, d_inner=24, dropout=0, mem_len=6, **changes)
    theirs, state = XLNetModel(config).eval(), {}
    own = ours.state_dict()
    state["word_embedding.weight"], state["mask_emb"] = own["embed.weight"], own["start"].view(1, 1, -1)
    for i in range(L):
        a, b = f"blocks.{i}.", f"layer.{i}."
        for mine, name in zip("qkvr", "qkvr", strict=True):
            state[b + f"rel_attn.{name}"] = own[a + f"attention.to_{mine}.weight"].T.reshape(D, H, -1)
        state[b + "rel_attn.o"] = own[a + "attention.to_o.weight"].reshape(D, H, -1)
        for name, mine in zip("wrs", ("content", "distance", "segment"), strict=True):
            state[b + f"rel_attn.r_{name}_bias"] = own[a + f"attention.{mine}_bias"]
        state[b + "rel_attn.seg_embed"] = own[a + "attention.segments"]
        for end in ("weight", "bias"):
            state[b + f"rel_attn.layer_norm.{end}"] = own[a + f"join_attention.norm.{end}"]
            state[b + f"ff.layer_norm.{end}"] = own[a + f"join_ffn.norm.{end}"]
            state[b + f"ff.layer_1.{end}"] = own[a + f"ffn.up.{end}"]
            state[b + f"ff.layer_2.{end}"] = own[a + f"ffn.down.{end}"]
    theirs.load_state_dict(state, strict=True)
    return theirs


def rows(seed=0):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, V, (B, T), generator=g)
    target = torch.tensor([[0, 1, 0, 0, 1, 1, 0, 0], [1, 0, 0, 1, 0, 0, 1, 0]]).bool()
    order = torch.stack([torch.randperm(T, generator=g) for _ in range(B)])
    return ids, target, torch.where(target, order, -1)


@torch.no_grad()
def test_plain_states_are_those_of_xlnet():
    ours, (ids, _, _) = backbone(), rows()
    segments = torch.tensor([[0] * 5 + [1] * 3] * B)
    wanted = twin(ours)(ids, token_type_ids=segments).last_hidden_state
    torch.testing.assert_close(ours(Batch(ids=ids, segments=segments)).states, wanted, atol=1e-5, rtol=1e-5)
    plain = twin(ours)(ids).last_hidden_state
    torch.testing.assert_close(ours(Batch(ids=ids)).states, plain, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rows_read_backwards_are_those_of_xlnet_with_bi_data():
    ours, g = backbone(), torch.Generator().manual_seed(3)
    ids = torch.randint(0, V, (4, 2 * T), generator=g)
    theirs = twin(ours, bi_data=True)  # the second half of the batch is backward there
    one = theirs(ids[:, :T], use_mems=True)
    two = theirs(ids[:, T:], mems=one.mems).last_hidden_state
    backward = torch.tensor([False, False, True, True])
    first = ours(Batch(ids=ids[:, :T], backward=backward))
    torch.testing.assert_close(first.states, one.last_hidden_state, atol=1e-5, rtol=1e-5)
    memory = torch.stack(first.memory, dim=1)[:, :, -6:]
    second = ours(Batch(ids=ids[:, T:], backward=backward), memory=memory).states
    torch.testing.assert_close(second, two, atol=1e-5, rtol=1e-5)
    forward = ours(Batch(ids=ids[:, T:]), memory=memory).states
    assert torch.equal(forward[:2], second[:2]) and not torch.allclose(forward[2:], second[2:], atol=1e-3)


@torch.no_grad()
def test_a_text_read_backwards_is_the_text():
    """Every token sees every other, so only the distances can tell; and they have the sign of the text."""
    ours, (ids, _, _) = backbone(), rows()
    turned = ours(Batch(ids=ids.flip(1), backward=torch.ones(B, dtype=torch.bool))).states
    torch.testing.assert_close(turned.flip(1), ours(Batch(ids=ids)).states, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_both_streams_with_memory_are_those_of_xlnet():
    ours, (ids, target, rank) = backbone(), rows()
    theirs = twin(ours)
    first = ours(Batch(ids=ids))
    mems = [x.transpose(0, 1)[-6:] for x in first.memory]
    seg = torch.zeros_like(ids)
    at = torch.stack([row.nonzero()[:, 0] for row in target])
    mapping = torch.nn.functional.one_hot(at, T).float()
    reach = rank + (~target).long()
    hidden = ~(reach[:, :, None] > rank[:, None, :])  # 1: may not see; the content stream sees itself in any case
    wanted = theirs(ids, mems=mems, perm_mask=hidden.float(), target_mapping=mapping, token_type_ids=seg)
    past = torch.stack([x[:, -6:] for x in first.memory], 1)
    rules = [after_memory(6, rule(rank, target)) for rule in (content, query)]
    asks = lambda b, h, q, k: rules[1](b, h, at[b, q], k)  # noqa: E731
    seen = [see(r, B, n, 6 + T, device="cpu") for r, n in ((rules[0], T), (asks, at.shape[1]))]
    out = ours(Batch(ids=ids, segments=seg), seen[0], query=Query(at, seen[1]), memory=past)
    torch.testing.assert_close(out.query_states, wanted.last_hidden_state, atol=1e-5, rtol=1e-5)
    kept = theirs(ids, mems=mems, perm_mask=hidden.float(), token_type_ids=seg)
    torch.testing.assert_close(out.states, kept.last_hidden_state, atol=1e-5, rtol=1e-5)
    for mine, his in zip(out.memory, wanted.mems, strict=True):
        torch.testing.assert_close(mine[:, -6:], his.transpose(0, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_two_halves_with_memory_are_one_long_pass():
    ours, (ids, _, _) = backbone(), rows()
    whole = ours(Batch(ids=ids), see(causal, B, T, device="cpu"))
    first = ours(Batch(ids=ids[:, :4]), Seen(causal=True))
    rule = see(memory(4), B, 4, 8, device="cpu")
    second = ours(Batch(ids=ids[:, 4:]), rule, memory=torch.stack(first.memory, 1))
    torch.testing.assert_close(torch.cat([first.states, second.states], 1), whole.states, atol=1e-5, rtol=1e-5)
    wanted = twin(ours, attn_type="uni")(ids).last_hidden_state
    torch.testing.assert_close(whole.states, wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_an_identity_order_is_left_to_right():
    ours, (ids, _, _) = backbone(), rows()
    everything = torch.ones(B, T, dtype=torch.bool)
    order = torch.arange(T).expand(B, T)
    by_order = ours(Batch(ids=ids), see(content(order, everything), B, T, device="cpu")).states
    torch.testing.assert_close(by_order, ours(Batch(ids=ids), Seen(causal=True)).states)


def test_the_masks_of_the_order_3_2_4_1_are_those_of_the_paper():
    rank = torch.tensor([[3, 1, 0, 2]])  # token 3 comes first, then 2, 4, 1
    target = torch.ones(1, 4, dtype=torch.bool)
    picture = lambda rule: [  # noqa: E731
        {k + 1 for k in range(4) if see(rule, 1, 4, device="cpu").mask[0, 0, q, k]} for q in range(4)
    ]
    assert picture(content(rank, target)) == [{1, 2, 3, 4}, {2, 3}, {3}, {2, 3, 4}]
    assert picture(query(rank, target)) == [{2, 3, 4}, {3}, set(), {2, 3}]


def asks(ours, ids, rank, target, at, *, words=None):
    rules = content(rank, target), query(rank, target)
    place = lambda b, h, q, k: rules[1](b, h, at[b, q], k)  # noqa: E731
    n = len(ids)
    seen = see(rules[0], n, ids.shape[1], device="cpu")
    looks = see(place, n, at.shape[1], ids.shape[1], device="cpu")
    if words is not None:
        ours.embed.forward = lambda ids: words
    return ours(Batch(ids=ids), seen, query=Query(at, looks)).query_states


def test_a_query_knows_nothing_of_its_own_token_nor_of_later_ones():
    """Also for the first of an order with nothing to see, where additive masks would show it everything."""
    ours = backbone()
    for target in (torch.ones(1, T, dtype=torch.bool), rows()[1][:1]):
        rank = torch.where(target, torch.randperm(T, generator=torch.Generator().manual_seed(3)), -1)
        words = torch.randn(1, T, D, requires_grad=True)
        at = target[0].nonzero()[:, 0][None]
        states = asks(ours, torch.zeros(1, T, dtype=torch.long), rank, target, at, words=words)
        for i, place in enumerate(at[0].tolist()):
            (grad,) = torch.autograd.grad(states[0, i] @ torch.randn(D), words, retain_graph=True)
            assert ((grad[0].abs().sum(-1) > 0) == (rank[0] < rank[0, place])).all()


@torch.no_grad()
def test_the_conditionals_of_an_order_make_a_joint_distribution():
    """Two tokens, three symbols, a uniform first token would be too easy: the scores depend on what is seen."""
    kind = find("backbones", "two_stream")
    torch.manual_seed(0)
    config = kind.Config.model_validate({"kind": "two_stream", "width": 4, "layers": 2, "heads": 1, "std": 1.0})
    ours = kind(config, Facts(vocab=3)).eval().double()
    for order in ([0, 1], [1, 0]):
        rank, target = torch.tensor([order]), torch.ones(1, 2, dtype=torch.bool)
        total, firsts = 0.0, set()
        for a in range(3):
            for b in range(3):
                ids = torch.tensor([[a, b]])
                p = (asks(ours, ids, rank, target, torch.tensor([[0, 1]])) @ ours.embed.weight.T).softmax(-1)[0]
                total += float(p[0, a] * p[1, b])
                firsts.add(round(float(p[order.index(1), 0]), 12))
        assert abs(total - 1) < 1e-12 and len(firsts) == 3  # the second conditional depends on the first token


@torch.no_grad()
def test_only_same_or_different_segment_matters():
    ours, (ids, _, _) = backbone(), rows()
    one = ours(Batch(ids=ids, segments=torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2]] * B))).states
    other = ours(Batch(ids=ids, segments=torch.tensor([[5, 5, 5, 0, 0, 0, 1, 1]] * B))).states
    assert torch.equal(one, other)
    assert not torch.allclose(one, ours(Batch(ids=ids, segments=torch.zeros_like(ids))).states)


def test_no_gradient_is_lost_and_the_parameter_count_is_the_papers():
    ours, (ids, target, rank) = backbone(), rows()
    at = torch.stack([row.nonzero()[:, 0] for row in target])
    out = asks(ours, ids, rank, target, at)
    out.square().sum().backward()
    missing = [n for n, p in ours.named_parameters() if p.grad is None]
    assert missing == [f"blocks.{i}.attention.{n}" for i in range(L) for n in ("segment_bias", "segments")]
    kind = find("backbones", "two_stream")
    with torch.device("meta"):
        large = TwoStream(kind.Config.model_validate({"kind": "two_stream"}), Facts(vocab=32000))
    assert sum(p.numel() for p in large.parameters()) == 360_268_800


def test_wrong_sizes_are_refused():
    with pytest.raises((RecipeError, ValueError), match="divisible by 3 heads"):
        backbone(heads=3)
