"""The stack: sizes as published, what may and may not reach a state, sharing, intermediates, recomputation."""

import copy

import pytest
import torch
from pydantic import ValidationError

from modeledge.backbones import transformer
from modeledge.core import Batch, Facts, InputError, build, find
from modeledge.engine.memory import Held
from modeledge.engine.recompute import recompute
from modeledge.visibility import both, see
from modeledge.visibility.causal import anticausal, causal
from modeledge.visibility.document import document
from modeledge.visibility.full import full
from modeledge.visibility.prefix import prefix
from modeledge.visibility.valid import valid

NORM = {"kind": "layer"}
TINY = {
    "width": 16,
    "layers": 3,
    "heads": 4,
    "embedding": {"kind": "tokens", "types": {"segments": 2}, "norm": NORM},
    "positions": {"kind": "learned", "max": 24},
    "pool": "first",
    "init": {"kind": "normal", "std": 0.3},
}


def config(kind="transformer", **settings):
    return find("backbones", kind).Config.model_validate({"kind": kind, **settings})


def make(vocab=31, **settings):
    return build("backbones", config(**{**TINY, **settings}), Facts(vocab=vocab)).eval().double()


def tokens(b=2, t=10, vocab=31):
    return Batch(ids=torch.randint(0, vocab, (b, t)))


def run(model, batch, rule=full, **options):
    return model(batch, see(rule, *batch.ids.shape, device="cpu"), **options)


def count(*, vocab=30522, kind="transformer", **settings):
    with torch.device("meta"):
        model = build("backbones", config(kind, **settings), Facts(vocab=vocab))
    return sum(p.numel() for p in model.parameters())


BERT = {"embedding": {"kind": "tokens", "types": {"segments": 2}, "norm": NORM}, "pool": "first"}


def test_sizes_of_the_released_encoders_and_decoders():
    assert count(**BERT) == 109_482_240
    assert count(**BERT, width=1024, layers=24, heads=16) == 335_141_888
    one_segment = {"kind": "tokens", "types": {"segments": 1}, "norm": NORM}
    assert (
        count(vocab=50265, embedding=one_segment, positions={"kind": "learned", "max": 514, "offset": 2}) == 124_055_040
    )
    assert count(vocab=50257, positions={"kind": "learned", "max": 1024}, join="pre") == 124_439_808


def test_size_of_vit_b_16_with_its_thousand_classes():
    assert count(embedding="patches", positions="grid", join="pre") + 769 * 1000 == 86_567_656


@pytest.mark.parametrize(
    ("width", "millions"),
    [
        (64, (9.68, 61.65, 35.68, 87.65)),
        (128, (11.68, 63.65, 37.69, 89.65)),
        (256, (15.69, 67.65, 41.69, 93.65)),
        (768, (31.71, 83.67, 57.71, 109.67)),
    ],
)
def test_sizes_of_albert_by_table_width_and_by_what_is_shared(width, millions):
    embedding = {**BERT["embedding"], "width": width}
    shares = ("all", "attention", "ffn", "none")
    sizes = [count(vocab=30000, embedding=embedding, pool="first", share=s) for s in shares]
    assert tuple(round(n / 1e6, 2) for n in sizes) == millions


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "bucketed", "none"])
@pytest.mark.parametrize("rule", [full, causal])
def test_padding_changes_nothing_at_valid_tokens(positions, rule):
    model, batch = make(positions=positions), tokens(t=7)
    alone = run(model, batch, rule)
    longer = Batch(
        ids=torch.cat([batch.ids, torch.randint(0, 31, (2, 4))], 1), valid=torch.arange(11).expand(2, -1) < 7
    )
    padded = run(model, longer, both(rule, valid(longer.valid)))
    torch.testing.assert_close(padded.states[:, :7], alone.states, atol=1e-10, rtol=0)
    torch.testing.assert_close(padded.pooled, alone.pooled, atol=1e-10, rtol=0)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "bucketed"])
def test_packed_documents_are_as_if_alone(positions):
    model, one, two = make(positions=positions), tokens(1, 4), tokens(1, 6)
    places = torch.cat([torch.arange(4), torch.arange(6)])[None]
    packed = Batch(ids=torch.cat([one.ids, two.ids], 1), positions=places, doc=torch.tensor([[0] * 4 + [1] * 6]))
    states = run(model, packed, document(packed.doc)).states
    wanted = torch.cat([run(model, one).states, run(model, two).states], 1)
    torch.testing.assert_close(states, wanted, atol=1e-10, rtol=0)


def test_a_causal_state_does_not_change_with_later_tokens_and_a_full_one_does():
    model, batch = make(), tokens()
    other = Batch(ids=torch.cat([batch.ids[:, :6], (batch.ids[:, 6:] + 1) % 31], 1))
    assert torch.equal(run(model, batch, causal).states[:, :6], run(model, other, causal).states[:, :6])
    assert (run(model, batch).states[:, 0] != run(model, other).states[:, 0]).any()


def test_right_to_left_is_left_to_right_on_the_reversed_row():
    model, batch = make(), tokens()
    places = torch.arange(10).expand(2, -1)
    mirrored = Batch(ids=batch.ids.flip(1), positions=places.flip(1))
    forward = run(model, batch.but(positions=places), anticausal).states
    torch.testing.assert_close(forward.flip(1), run(model, mirrored, causal).states, atol=1e-10, rtol=0)


def test_source_tokens_of_a_prefix_do_not_see_the_target():
    model, batch = make(), tokens()
    rule = prefix(torch.tensor([4, 4]))
    other = Batch(ids=torch.cat([batch.ids[:, :4], (batch.ids[:, 4:] + 1) % 31], 1))
    assert torch.equal(run(model, batch, rule).states[:, :4], run(model, other, rule).states[:, :4])


def test_without_positions_the_order_means_nothing():
    model, batch, order = make(positions="none"), tokens(), torch.randperm(10)
    shuffled = run(model, Batch(ids=batch.ids[:, order])).states
    torch.testing.assert_close(shuffled, run(model, batch).states[:, order], atol=1e-10, rtol=0)
    assert (run(make(), Batch(ids=batch.ids[:, order])).states - run(make(), batch).states[:, order]).abs().max() > 1e-3


@pytest.mark.parametrize("positions", ["learned", "bucketed", "rotary"])
@pytest.mark.parametrize("rule", [full, causal])
def test_asking_for_intermediates_changes_nothing(positions, rule):
    model, batch = make(positions=positions), tokens()
    plain, asked = (
        run(model, batch, rule),
        run(model, batch, rule, keep=("blocks.*.attention", "blocks.1", "embedding")),
    )
    torch.testing.assert_close(asked.states, plain.states, atol=1e-10, rtol=0)
    assert not plain.kept
    assert set(asked.kept) == {"embedding", "blocks.1", *(f"blocks.{i}.attention" for i in range(3))}
    weights = asked.kept["blocks.2.attention"]
    assert weights.shape == (2, 4, 10, 10)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 10).double())
    if rule is causal:
        assert (weights.triu(1) == 0).all()


@pytest.mark.parametrize("share", ["all", "attention", "ffn"])
def test_gradients_of_a_shared_branch_are_the_sum_over_the_layers(share):
    shared, batch = make(share=share), tokens()
    plain = make()
    plain.load_state_dict(shared.state_dict())  # the same weights, each layer with a copy of its own
    for model in (shared, plain):
        run(model, batch).states.pow(2).sum().backward()
    parts = {"all": ("attention", "ffn"), "attention": ("attention",), "ffn": ("ffn",)}[share]
    for part in ("attention.to_v", "ffn.up"):
        grads = [b.get_submodule(part).weight.grad for b in plain.blocks]
        wanted = sum(grads) if part.split(".")[0] in parts else grads[1]
        torch.testing.assert_close(shared.blocks[1].get_submodule(part).weight.grad, wanted)


def test_groups_of_layers_share_among_themselves():
    model = make(layers=6, share="all", groups=3)
    parts = [id(b.attention) for b in model.blocks]
    assert parts[0] == parts[1] != parts[2] == parts[3] != parts[4] == parts[5]


GATED = {"kind": "gated", "dropout": 0.2}
DROPPED = {"kind": "softmax", "dropout": 0.2}


@pytest.mark.parametrize(("what", "places", "saves"), [("full", 3, 4.0), ("selective", 6, 1.25)])
@pytest.mark.parametrize(
    "settings", [{}, {"join": "pre", "ffn": GATED, "attention": DROPPED}, {"attention": {"kind": "functional"}}]
)
def test_recomputing_gives_the_same_gradients_and_holds_less(what, places, saves, settings):
    model, batch = make(dropout=0.2, **settings).train(), tokens(b=4, t=24)

    def gradient():
        torch.manual_seed(3)
        model.zero_grad()
        with Held(model) as held:
            loss = run(model, batch, causal).states.sum()
        loss.backward()
        return held.bytes, [p.grad.clone() for p in model.parameters() if p.grad is not None]

    before, plain = gradient()
    assert recompute(model, what) == places
    after, again = gradient()
    assert len(plain) > 30 and all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert before / after > saves


def test_a_layer_that_is_recomputed_holds_its_input_alone():
    """2sbh bytes in 16 bits for a layer (Korthikanti et al. §4.2); 8sbh in these 64."""
    rows, length = 4, 24

    def held(layers):
        model = make(layers=layers).train()
        recompute(model, "full")
        with Held(model) as found:
            run(model, tokens(b=rows, t=length), causal)
        return found.bytes

    assert held(5) - held(2) == 3 * 8 * rows * length * TINY["width"]


@pytest.mark.contract
@pytest.mark.parametrize("what", ["full", "selective"])
def test_recomputing_compiles_without_a_break(what):
    torch._dynamo.reset()
    model, batch = make(layers=2).train(), tokens()
    plain = run(model, batch, causal).states
    recompute(model, what)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    states = run(compiled, batch, causal).states
    states.sum().backward()
    torch.testing.assert_close(states, plain)


@pytest.mark.contract
@pytest.mark.parametrize(("positions", "join"), [("learned", "post"), ("bucketed", "pre"), ("rotary", "pre")])
def test_the_whole_stack_compiles_without_a_break(positions, join):
    torch._dynamo.reset()
    model, batch = make(positions=positions, join=join, layers=1), tokens()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for rule in (full, causal, document(torch.zeros(2, 10, dtype=torch.long))):
        torch.testing.assert_close(run(compiled, batch, rule).states, run(model, batch, rule).states)


def test_generation_with_a_cache_equals_the_whole_row_also_after_reordering():
    model, batch = make(join="pre"), tokens(3)
    whole, cache = run(model, batch, causal).states, model.new_cache()
    model(Batch(ids=batch.ids[:, :8]), see(causal, 3, 8, device="cpu"), cache=cache)
    order = torch.tensor([1, 1, 0])
    cache.reorder(order)
    for at in (8, 9):
        seen = see(causal, 3, 1, device="cpu", start=cache.length)
        state = model(Batch(ids=batch.ids[order, at : at + 1]), seen, cache=cache).states
        torch.testing.assert_close(state, whole[order, at : at + 1], atol=1e-10, rtol=0)


def test_rows_and_caches_longer_than_the_positions_are_refused():
    model = make()
    with pytest.raises(InputError, match="25 tokens long and the table has 24"):
        run(model, tokens(t=25))
    cache = model.new_cache()
    run(model, tokens(t=24), causal, cache=cache)
    with pytest.raises(InputError, match="25 tokens"):
        model(tokens(t=1), see(causal, 2, 1, device="cpu", start=24), cache=cache)


def test_sizes_that_do_not_fit_together_are_refused():
    with pytest.raises(ValidationError, match="not divisible by 5 heads"):
        config(width=16, heads=5)
    with pytest.raises(ValidationError, match="3 layers cannot be cut into 2"):
        config(**{**TINY, "groups": 2})
    assert config(width=16, heads=5, head_width=4).head_width == 4


def test_the_token_table_is_there_to_be_tied():
    model = make(embedding={"kind": "tokens", "width": 8})
    assert model.embed is model.embedding.word and model.embed.weight.shape == (31, 8) and model.embed.width == 8
    assert make(embedding={"kind": "patches", "size": 8, "patch": 4}, positions="grid").embed is None


@pytest.mark.parametrize(
    "positions", [{"kind": "learned", "max": 24}, {"kind": "rotary"}, {"kind": "bucketed", "buckets": 8}]
)
def test_leaving_padding_out_changes_no_state_and_no_gradient(positions, monkeypatch):
    model, batch = make(positions=positions), tokens(3, 10)
    batch = batch.but(valid=torch.arange(10) < torch.tensor([[4], [10], [1]]))
    rule = both(full, valid(batch.valid))
    direction = torch.randn(3, 10, 16).double() * batch.valid[..., None]
    found = []
    for share in (0.0, 0.9):
        monkeypatch.setattr(transformer, "SPARSE", share)
        assert (model.pack(batch, torch.empty(3, 10, 16)) is not None) == (share > 0)
        out = run(model, batch, rule)
        loss = (out.states * direction).sum() + out.pooled.sum()
        found.append((out.states[batch.valid], out.pooled, *torch.autograd.grad(loss, list(model.parameters()))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert (out.states[~batch.valid] == 0).all()


@pytest.mark.parametrize("what", ["full", "selective"])
def test_a_copy_of_a_model_that_recomputes_computes_with_its_own_weights(what):
    model = make(layers=1).train()
    recompute(model, what)
    twin, batch = copy.deepcopy(model), tokens()
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(0.1)
    plain = make(layers=1)
    plain.load_state_dict(twin.state_dict())
    torch.testing.assert_close(run(twin, batch, causal).states, run(plain, batch, causal).states)
