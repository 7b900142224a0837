"""Every kind of every slot: the right shape, no graph break, the same again after saving and loading."""

import pytest
import torch

from modeledge.core import Batch, Facts, build, find, kinds
from modeledge.layers import Sizes
from modeledge.layers.attention import Context, Packed, _packed

SIZES = Sizes(width=12, heads=3, head_width=4, layers=2, embedded=12, grid=(2, 3))
FACTS = Facts(vocab=19)
AT = torch.arange(7)[None]


def made(room, kind, *args, **named):
    return build(room, find(room, kind).Config(kind=kind), *args, **named)


def norm():
    return made("layers.norms", "layer", 12)


def case(room, kind):
    """The part and a way to run it."""
    x = torch.randn(2, 7, 12)
    ids, chars = torch.randint(0, 19, (2, 7)), torch.randint(1, 200, (2, 7, 9))
    batch = Batch(ids=ids, image=torch.randn(2, 32, 48, 3), chars=chars)
    none = made("layers.positions", "none", SIZES)
    if room == "layers.embeddings":
        part = made(room, kind, FACTS, SIZES)
        return part, lambda p: p(batch, none, p.places(batch, 0))
    if room == "layers.norms":
        return made(room, kind, 12), lambda p: p(x)
    if room == "layers.joins":
        return made(room, kind, norm, dropout=0.0), lambda p: p(x, torch.tanh)
    if room == "layers.positions":
        return made(room, kind, SIZES), lambda p: placed(p, x)
    if room == "layers.attention":
        context = Context(causal=True)
        return made(room, kind, SIZES), lambda p: p(x, context)
    if room == "layers.pools":
        return made(room, kind, SIZES), lambda p: p(x, batch)[:, None]
    return made(room, kind, SIZES), lambda p: p(x)


def placed(positions, x):
    """What a scheme does in its three places, added up to b t d."""
    heads = positions.turn(AT)(x.unflatten(-1, (3, 4)).transpose(1, 2))
    bias = positions.bias(AT[0], AT[0])
    added = positions.add(x, AT, (2, 3))
    return added + heads.transpose(1, 2).flatten(2) + (0.0 if bias is None else bias.mean((0, 1))[None, :, :1])


SLOTS = {
    "layers.embeddings": kinds("layers.embeddings"),
    "layers.norms": kinds("layers.norms"),
    "layers.joins": kinds("layers.joins"),
    "layers.ffn": kinds("layers.ffn"),
    "layers.positions": kinds("layers.positions"),
    "layers.attention": kinds("layers.attention"),
    "layers.pools": kinds("layers.pools"),
}


@pytest.mark.parametrize(("room", "kind"), [(room, kind) for room, found in SLOTS.items() for kind in found])
def test_a_part_keeps_its_shape_compiles_whole_and_can_be_saved(room, kind):
    part, run = case(room, kind)
    torch.manual_seed(1)
    out = run(part)
    assert (
        out.shape[0] == 2 and out.shape[-1] == (part.width if room == "layers.pools" else 12) and out.isfinite().all()
    )
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):  # otherwise it leaves the graph at an LSTM
        again = torch.compile(lambda: run(part), backend="eager", fullgraph=True)()
    torch.testing.assert_close(again, out)
    with torch.no_grad():
        for p in part.parameters():
            p.add_(torch.randn_like(p))
    other = case(room, kind)[0]
    other.load_state_dict(part.state_dict())
    torch.testing.assert_close(run(other), run(part))


@pytest.mark.parametrize("kind", kinds("layers.inits"))
def test_an_init_draws_every_weight_and_leaves_norms_alone(kind):
    sizes = {"width": 12, "layers": 2, "heads": 3}
    config = find("backbones", "transformer").Config(kind="transformer", init={"kind": kind}, **sizes)
    stack = build("backbones", config, FACTS)
    for name, p in stack.named_parameters():
        if "norm" in name:
            assert (p == (1.0 if name.endswith("weight") else 0.0)).all()
        elif name.endswith("bias"):
            assert (p == 0).all()
        else:
            assert p.std() > 0


@pytest.mark.parametrize("kind", kinds("layers.attention"))
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("steps", [16, 1])
def test_attention_reads_the_same_on_packed_tokens_with_the_same_gradients(kind, causal, steps, monkeypatch):
    monkeypatch.setattr(_packed, "STEPS", steps)  # none or five spare places
    part, x = made("layers.attention", kind, SIZES).double(), torch.randn(2, 7, 12).double().requires_grad_()
    valid = torch.arange(7) < torch.tensor([[4], [7]])  # causal rows are padded at their end and need no mask
    mask = None if causal else valid[:, None, None, :].expand(2, 1, 7, 7)
    packed, direction = Packed(valid), torch.randn(2, 7, 12).double() * valid[..., None]
    rows = part(x, Context(mask=mask, causal=causal))
    ends = packed.pad(part(packed.pack(x), Context(mask=mask, causal=causal, packed=packed)))
    torch.testing.assert_close(ends[valid], rows[valid])
    inputs = [x, *part.parameters()]
    wanted = torch.autograd.grad((rows * direction).sum(), inputs)
    for found, grad in zip(torch.autograd.grad((ends * direction).sum(), inputs), wanted, strict=True):
        torch.testing.assert_close(found, grad)
