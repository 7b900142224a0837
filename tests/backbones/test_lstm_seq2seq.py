"""The recurrent encoder-decoder against torch.nn.LSTM and a plain loop over its attention."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modeledge.core import Batch, Facts, RecipeError, find

V = 30
RAMA = {"directions": "forward", "attends": "ends", "residual": "first", "tables": "own"}


def make(**settings):
    torch.manual_seed(0)
    part = find("backbones", "lstm_seq2seq")
    settings = {"width": 8, "input": 5, "layers": 2, "directions": "joined"} | settings
    return part(part.Config(kind="lstm_seq2seq", **settings), Facts(vocab=V, special={"pad": 0})).eval()


def some_ids(b=3, t=9, seed=1):
    return torch.randint(1, V, (b, t), generator=torch.Generator().manual_seed(seed))


def as_torch(ways):
    """The directions of our encoder or decoder in torch.nn.LSTM."""
    first = ways[0][0]
    theirs = nn.LSTM(first.to_gates.shape[1], first.cell, len(ways[0]), batch_first=True, bidirectional=len(ways) > 1)
    with torch.no_grad():
        for way, layers in enumerate(ways):
            for i, ours in enumerate(layers):
                end = f"_l{i}" + "_reverse" * way
                for name, tensor in {"weight_ih": ours.to_gates, "weight_hh": ours.again, "bias_ih": ours.bias}.items():
                    getattr(theirs, name + end).copy_(tensor)
                getattr(theirs, "bias_hh" + end).zero_()
    return theirs


@pytest.mark.parametrize("settings", [{}, RAMA | {"input": 8}, {"attends": "ends", "layers": 1}])
def test_the_states_are_those_of_a_plain_loop(settings):
    ours, ids, wanted = make(**settings), some_ids(), some_ids(3, 6, 2)
    sizes = (9, 5, 2)
    valid = torch.arange(9) < torch.tensor(sizes)[:, None]
    found = ours(Batch(ids=ids, valid=valid, decoder_ids=wanted), keep={"blocks.0"})
    down = as_torch(ours.decoder.stacks)
    first = as_torch([ours.decoder.stacks[0][:1]])
    for row, size in enumerate(sizes):
        x = ours.encoder.embed(ids[row : row + 1, :size])
        layers = []
        for i in range(ours.config.layers):
            if len(ours.encoder.stacks) == 1:
                x = as_torch([ours.encoder.stacks[0][i : i + 1]])(x)[0]
            else:
                x = as_torch([s[i : i + 1] for s in ours.encoder.stacks])(x)[0]
            layers.append(x[0])
        attended = [layers[0], layers[-1]] if ours.config.attends == "ends" and len(layers) > 1 else layers[-1:]
        words = ours.decoder.embed(wanted[row : row + 1])
        low, top = first(words)[0][0], down(words)[0][0]
        for u in range(6):
            parts = [top[u]]
            for query, layer in zip(ours.queries, attended, strict=True):
                scores = torch.stack([(query.weight @ top[u]) @ h for h in layer])
                parts.append((scores.softmax(0)[:, None] * layer).sum(0))
            expected = (ours.join.weight @ torch.cat(parts)).tanh()
            expected = expected + low[u] if ours.config.residual == "first" else expected
            torch.testing.assert_close(found.states[row, u], expected)


def test_the_encoder_is_torchs_bidirectional_lstm_on_packed_rows():
    ours, ids = make(), some_ids()
    sizes = torch.tensor([9, 5, 2])
    packed = nn.utils.rnn.pack_padded_sequence(ours.encoder.embed(ids), sizes, batch_first=True)
    theirs, _ = nn.utils.rnn.pad_packed_sequence(as_torch(ours.encoder.stacks)(packed)[0], batch_first=True)
    found = ours(Batch(ids=ids, valid=torch.arange(9) < sizes[:, None])).states
    torch.testing.assert_close(found, theirs)


def test_padding_and_the_order_of_the_batch_change_nothing():
    ours, ids = make(), some_ids()
    valid = torch.arange(9) < torch.tensor([9, 5, 2])[:, None]
    batch = Batch(ids=torch.where(valid, ids, 7), valid=valid)
    found = ours(batch).states
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(ours(Batch(ids=ids[order], valid=valid[order])).states, found[order])
    for row, size in enumerate((9, 5, 2)):
        alone = ours(Batch(ids=ids[row : row + 1, :size])).states[0]
        torch.testing.assert_close(found[row, :size], alone)
        assert (found[row, size:] == 0).all()


def test_what_is_to_be_written_later_is_not_known_before():
    ours, ids, wanted = make(), some_ids(), some_ids(3, 6, 2)
    changed = wanted.clone()
    changed[:, 4] = changed[:, 4] % (V - 1) + 1
    one, two = (ours(Batch(ids=ids, decoder_ids=x)).states for x in (wanted, changed))
    assert torch.equal(one[:, :4], two[:, :4]) and not torch.equal(one[:, 4:], two[:, 4:])


@pytest.mark.parametrize("settings", [{}, RAMA])
def test_writing_word_by_word_with_a_cache_is_writing_at_once_also_in_another_order_of_rows(settings):
    ours, ids, wanted = make(**settings), some_ids(), some_ids(3, 6, 2)
    valid = torch.arange(9) < torch.tensor([9, 5, 2])[:, None]
    whole = ours(Batch(ids=ids, valid=valid, decoder_ids=wanted)).states
    cache, order = ours.new_cache(), torch.tensor([2, 0, 0])
    steps = [ours(Batch(ids=ids, valid=valid, decoder_ids=wanted[:, u : u + 1]), cache=cache).states for u in range(3)]
    torch.testing.assert_close(torch.cat(steps, 1), whole[:, :3])
    cache.reorder(order)
    later = ours(Batch(ids=ids, valid=valid, decoder_ids=wanted[order, 3:]), cache=cache).states
    torch.testing.assert_close(later, whole[order, 3:])
    assert cache.length == 6


def test_a_side_alone_is_its_first_layer_and_with_nothing_attended_to_the_decoder_is_that():
    """Language model and decoder give the same scores as long as the layer over both says nothing."""
    ours, ids = make(**RAMA | {"input": 8}), some_ids()
    for side in ("encoder", "decoder"):
        part = getattr(ours, side)
        expected = as_torch([part.stacks[0][:1]])(part.embed(ids))[0]
        torch.testing.assert_close(ours(Batch(ids=ids), alone=side).states, expected)
    nn.init.zeros_(ours.join.weight)
    both = ours(Batch(ids=some_ids(seed=5), decoder_ids=ids)).states
    assert torch.equal(both, ours(Batch(ids=ids), alone="decoder").states)


def test_words_beside_states_are_as_wide_as_the_table():
    ours = make()
    out = ours(Batch(ids=some_ids()), keep={"embedding", "blocks.0", "blocks.1"})
    torch.testing.assert_close(out.kept["embedding"], ours.encoder.embed(some_ids()))
    assert out.kept["blocks.0"].shape[-1] == 8 and torch.equal(out.kept["blocks.1"], out.states)


def test_one_table_or_two():
    shared, own = make(), make(tables="own")
    assert shared.encoder.embed is shared.decoder.embed and own.encoder.embed is not own.decoder.embed


def test_what_cannot_be_built_is_refused():
    with pytest.raises(RecipeError, match="even number"):
        make(width=7)
    with pytest.raises(RecipeError, match="one direction"):
        make().side("encoder")
