"""The recurrent stacks against torch.nn.LSTM, and who knows what."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modeledge.backbones._recurrence import Recurrence
from modeledge.core import Batch, Facts, RecipeError, find

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # the oracle is slow here, and says so

V = 30


def make(**settings):
    torch.manual_seed(0)
    settings = {"width": 6, "cell": 10, "layers": 2, "embedding": {"kind": "tokens"}} | settings
    part = find("backbones", "lstm")
    return part(part.Config(kind="lstm", **settings), Facts(vocab=V, special={"pad": 0})).eval()


def some_ids(b=3, t=9, seed=1):
    return torch.randint(1, V, (b, t), generator=torch.Generator().manual_seed(seed))


def as_torch(layers):
    """Our layers' weights in torch.nn.LSTM."""
    first = layers[0]
    projected = {"proj_size": first.out} if first.project is not None else {}
    theirs = nn.LSTM(first.to_gates.shape[1], first.cell, len(layers), batch_first=True, **projected)
    with torch.no_grad():
        for i, ours in enumerate(layers):
            named = {"weight_ih": ours.to_gates, "weight_hh": ours.again, "bias_ih": ours.bias}
            named |= {"weight_hr": ours.project} if ours.project is not None else {}
            for name, tensor in named.items():
                getattr(theirs, f"{name}_l{i}").copy_(tensor)
            getattr(theirs, f"bias_hh_l{i}").zero_()
    return theirs


@pytest.mark.parametrize("way, out", [("fused", 7), ("stepwise", 7), ("stepwise", 5)])  # 5: with a projection
def test_a_layer_is_torchs_lstm_and_so_are_its_gradients(way, out):
    torch.manual_seed(0)
    ours = Recurrence(4, cell=7, out=out)
    theirs = as_torch([ours])
    x, h, c = torch.randn(3, 6, 4), torch.randn(3, out), torch.randn(3, 7)
    y, (h1, c1) = getattr(ours, way)(x, (h, c))
    z, (h2, c2) = theirs(x, (h[None], c[None]))
    for a, b in ((y, z), (h1, h2[0]), (c1, c2[0])):
        torch.testing.assert_close(a, b)
    (y * z.detach()).sum().backward()
    (z * z.detach()).sum().backward()
    torch.testing.assert_close(ours.again.grad, theirs.weight_hh_l0.grad)
    torch.testing.assert_close(ours.bias.grad, theirs.bias_ih_l0.grad)


def test_bounds_hold_the_cell_and_the_projection_at_every_step():
    torch.manual_seed(0)
    layer = Recurrence(4, cell=7, out=5, clip=0.05)
    x, h, c = 9 * torch.randn(2, 6, 4), torch.zeros(2, 5), torch.zeros(2, 7)
    y, (_, last) = layer(x)
    assert y.abs().max() == 0.05 and last.abs().max() == 0.05  # floats: reached exactly, never passed
    for step in range(6):  # a plain loop over the equations
        i, f, g, o = (layer.to_gates @ x[:, step].T + layer.again @ h.T + layer.bias[:, None]).T.chunk(4, 1)
        c = (f.sigmoid() * c + i.sigmoid() * g.tanh()).clamp(-0.05, 0.05)
        h = ((o.sigmoid() * c.tanh()) @ layer.project.T).clamp(-0.05, 0.05)
        torch.testing.assert_close(y[:, step], h)


def test_without_bounds_and_skips_a_stack_is_torchs_stacked_lstm():
    model = make(directions="forward", skip="none")
    out = model(Batch(ids=some_ids()), keep={"embedding"})
    torch.testing.assert_close(out.states, as_torch(model.stacks[0])(out.kept["embedding"])[0])


def test_layers_above_the_first_add_their_input():
    model = make(directions="forward")
    out = model(Batch(ids=some_ids()), keep={"embedding", "blocks.*"})
    one = as_torch(model.stacks[0][:1])(out.kept["embedding"])[0]
    torch.testing.assert_close(out.kept["blocks.0"], one)
    torch.testing.assert_close(out.kept["blocks.1"], one + as_torch(model.stacks[0][1:])(one)[0])


@pytest.mark.parametrize("clip", [0.0, 3.0])
def test_forward_states_ignore_what_follows_and_backward_states_what_came_before(clip):
    model, k = make(clip=clip), 4
    ids = some_ids()
    changed = ids.clone()
    changed[:, k] = changed[:, k] % (V - 1) + 1
    one, two = (model(Batch(ids=x), keep={"blocks.*"}).kept for x in (ids, changed))
    for name in ("blocks.0", "blocks.1"):
        forward, backward = one[name].chunk(2, -1), two[name].chunk(2, -1)
        assert torch.equal(forward[0][:, :k], backward[0][:, :k])
        assert torch.equal(forward[1][:, k + 1 :], backward[1][:, k + 1 :])
        assert (forward[0][:, k:] != backward[0][:, k:]).any(-1).all()
        assert (forward[1][:, : k + 1] != backward[1][:, : k + 1]).any(-1).all()


def test_padding_changes_no_valid_state_and_has_none():
    model, lengths = make(), [9, 4, 1]
    ids = some_ids()
    valid = torch.arange(9) < torch.tensor(lengths)[:, None]
    padded = model(Batch(ids=ids.where(valid, 0), valid=valid)).states
    for row, n in enumerate(lengths):
        torch.testing.assert_close(padded[row, :n], model(Batch(ids=ids[row : row + 1, :n])).states[0])
        assert (padded[row, n:] == 0).all()


def test_the_backward_stack_is_the_forward_stack_on_reversed_input_with_swapped_weights():
    model = make()
    ids = some_ids()
    forward, backward = model(Batch(ids=ids)).states.chunk(2, -1)
    model.stacks[0], model.stacks[1] = model.stacks[1], model.stacks[0]
    turned_forward, turned_backward = model(Batch(ids=ids.flip(1))).states.chunk(2, -1)
    torch.testing.assert_close(backward, turned_forward.flip(1))
    torch.testing.assert_close(forward, turned_backward.flip(1))


@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_segments_with_memory_are_the_whole_row_to_the_forward_stack(clip):
    model, ids = make(clip=clip), some_ids(t=12)
    whole = model(Batch(ids=ids)).states[..., :6]
    one = model(Batch(ids=ids[:, :5]))
    two = model(Batch(ids=ids[:, 5:]), memory=one.memory)
    torch.testing.assert_close(torch.cat([one.states, two.states], 1)[..., :6], whole)


@pytest.mark.parametrize("clip", [0.0, 3.0])
def test_bfloat16_stays_near_fp32(clip):
    model, ids = make(clip=clip), some_ids()
    exact = model(Batch(ids=ids)).states
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(Batch(ids=ids)).states
    assert (exact - rough).abs().max() < 0.02


AWD = {"width": 6, "inner": 9, "cell": None, "layers": 3, "directions": "forward", "skip": "none"}


def test_layers_of_different_widths_are_torchs_lstms_one_on_the_other():
    ours, ids = make(**AWD), some_ids()
    out = ours(Batch(ids=ids), keep={"embedding", "blocks.0", "blocks.2"})
    x = out.kept["embedding"]
    for layer in ours.stacks[0]:
        x = as_torch([layer])(x)[0]
    torch.testing.assert_close(out.states, x)
    assert out.kept["blocks.0"].shape[-1] == 9 and out.states.shape[-1] == ours.embed.weight.shape[1] == 6


def test_a_row_in_two_halves_with_memory_is_the_row_in_one_also_where_widths_differ():
    ours, ids = make(**AWD), some_ids()
    first = ours(Batch(ids=ids[:, :4]))
    second = ours(Batch(ids=ids[:, 4:]), memory=first.memory)
    torch.testing.assert_close(torch.cat([first.states, second.states], 1), ours(Batch(ids=ids)).states)
    assert all(end.shape == (3, ours.memory_width) for end in first.memory)


def test_adding_layers_of_different_widths_is_refused():
    with pytest.raises(RecipeError, match="skip: none"):
        make(**AWD | {"skip": "input"})


@pytest.mark.parametrize("way, out", [("fused", 7), ("stepwise", 7)])
def test_dropped_weights_are_dropped_for_all_steps_of_a_pass_and_only_in_training(way, out):
    """Whatever the mask, the outputs are those of torch's LSTM with one masked matrix."""
    layer = Recurrence(4, cell=7, out=out, drop=0.5).train()
    x, held = torch.randn(2, 6, 4), (torch.zeros(2, 7), torch.zeros(2, 7))
    torch.manual_seed(1)
    y, _ = getattr(layer, way)(x, held)
    torch.manual_seed(1)
    masked = nn.functional.dropout(layer.again, 0.5).detach()
    theirs = as_torch([layer])
    plain = theirs(x)[0]
    with torch.no_grad():
        theirs.weight_hh_l0.copy_(masked)
    torch.testing.assert_close(y, theirs(x)[0])
    assert 0.3 < (masked == 0).float().mean() < 0.7 and not torch.allclose(y, plain)
    torch.testing.assert_close(layer.eval()(x)[0], plain)


def test_states_are_left_out_with_one_mask_a_row():
    ours = make(**AWD | {"width": 200, "inner": 200, "dropout": {"output": 0.4}}).train()
    out = ours(Batch(ids=some_ids()), keep={"blocks.2"})
    gone = out.states == 0
    assert (gone == gone[:, :1]).all() and not (gone[0] == gone[1]).all()
    assert abs(gone[:, 0].float().mean() - 0.4) < 3 * (0.24 / 600) ** 0.5
    torch.testing.assert_close(out.states[~gone], (out.kept["blocks.2"] / 0.6)[~gone])


@pytest.mark.parametrize("place", ["input", "between"])
def test_each_rate_of_variational_dropout_acts_where_it_says(place):
    ours = make(**AWD | {"dropout": {place: 0.5}}).train()
    kept = [ours(Batch(ids=some_ids()), keep={"blocks.0", "blocks.1"}).kept for _ in range(2)]
    assert torch.equal(kept[0]["blocks.0"], kept[1]["blocks.0"]) == (place == "between")
    assert not torch.equal(kept[0]["blocks.1"], kept[1]["blocks.1"])


def test_words_are_left_out_in_all_their_places_at_once():
    ours = make(width=6, cell=None, embedding={"kind": "tokens", "omit": 0.4}).train()
    ids = some_ids(20, 40)
    x = ours(Batch(ids=ids), keep={"embedding"}).kept["embedding"][..., :6]
    table = ours.embed.weight
    gone = {int(i) for i in ids.flatten() if (x[ids == i] == 0).all()}
    assert 4 < len(gone) < 20
    for word in range(1, V):
        found = x[ids == word]
        torch.testing.assert_close(found, (table[word] * (word not in gone) / 0.6).expand_as(found))
    y = ours.eval()(Batch(ids=ids), keep={"embedding"}).kept["embedding"][..., :6]
    torch.testing.assert_close(y, table[ids])
