"""Encoder and decoder together: who may influence whom, and torch's own decoder layer."""

import pytest
import torch

from modeledge.core import Batch, Facts, build, find
from modeledge.visibility import see
from modeledge.visibility.document import document
from modeledge.visibility.full import full
from modeledge.visibility.valid import valid

T5 = {
    "width": 512,
    "layers": 6,
    "heads": 8,
    "norm": "rms",
    "join": "pre",
    "positions": "bucketed",
    "attention": {"kind": "softmax", "bias": False, "scale": 1.0},
    "ffn": {"kind": "mlp", "width": 2048, "bias": False, "activation": "relu"},
    "init": "t5",
}
TINY = {**T5, "width": 16, "layers": 2, "heads": 4, "init": {"kind": "normal", "std": 0.3}}


def make(vocab=31, **settings):
    cls = find("backbones", "encoder_decoder")
    config = cls.Config.model_validate({"kind": "encoder_decoder", **TINY, **settings})
    return build("backbones", config, Facts(vocab=vocab)).eval().double()


def tokens():
    return Batch(ids=torch.randint(0, 31, (2, 9)), decoder_ids=torch.randint(0, 31, (2, 6)))


def run(model, batch, rule=full, **options):
    return model(batch, see(rule, *batch.ids.shape, device="cpu"), **options)


def test_size_of_t5_small():
    with torch.device("meta"):
        model = make(vocab=32128, **T5)
    assert sum(p.numel() for p in model.parameters()) == 60_506_624


def test_the_decoder_does_not_see_ahead():
    model, batch = make(), tokens()
    other = batch.but(decoder_ids=torch.cat([batch.decoder_ids[:, :3], (batch.decoder_ids[:, 3:] + 1) % 31], 1))
    assert torch.equal(run(model, batch).states[:, :3], run(model, other).states[:, :3])
    assert (run(model, batch).states[:, 3:] != run(model, other).states[:, 3:]).any()


def test_padding_of_the_encoder_reaches_no_state():
    model, batch = make(), tokens()
    longer = batch.but(
        ids=torch.cat([batch.ids, torch.randint(0, 31, (2, 3))], 1), valid=torch.arange(12).expand(2, -1) < 9
    )
    padded, alone = run(model, longer, valid(longer.valid)), run(model, batch)
    torch.testing.assert_close(padded.states, alone.states, atol=1e-10, rtol=0)
    torch.testing.assert_close(padded.encoder_states[:, :9], alone.encoder_states, atol=1e-10, rtol=0)


def test_packed_pairs_are_as_if_alone():
    model, one, two = make(), tokens(), tokens()
    packed = Batch(
        ids=torch.cat([one.ids, two.ids], 1),
        doc=torch.tensor([[0] * 9 + [1] * 9] * 2),
        decoder_ids=torch.cat([one.decoder_ids, two.decoder_ids], 1),
        decoder_doc=torch.tensor([[0] * 6 + [1] * 6] * 2),
    )
    states = run(model, packed, document(packed.doc)).states
    torch.testing.assert_close(states[:, :6], run(model, one).states, atol=1e-10, rtol=0)
    torch.testing.assert_close(states[:, 6:], run(model, two).states, atol=1e-10, rtol=0)


def test_encoding_alone_needs_no_decoder_input():
    model, batch = make(), tokens()
    out = run(model, batch.but(decoder_ids=None))
    assert out.states is out.encoder_states and torch.equal(out.encoder_states, run(model, batch).encoder_states)


def test_one_table_of_tokens_serves_both_stacks():
    model = make()
    assert model.embed is model.encoder.embedding.word is model.decoder.embedding.word
    assert sum(n.endswith("word.weight") for n, _ in model.named_parameters()) == 1


def test_the_first_layers_bias_serves_all_layers_and_gathers_their_gradients():
    model, batch = make(), tokens()
    run(model, batch).states.sum().backward()
    names = [n for n, p in model.named_parameters() if "positions" in n and p.grad is not None]
    assert names == ["encoder.positions.table.weight", "decoder.positions.table.weight"]
    assert model.encoder.positions.both and not model.decoder.positions.both


def test_intermediates_carry_the_name_of_their_stack():
    model, batch = make(), tokens()
    keep = ("encoder.blocks.*.attention", "decoder.blocks.1.cross", "decoder.blocks.0")
    out = run(model, batch, keep=keep)
    assert set(out.kept) == {
        "encoder.blocks.0.attention",
        "encoder.blocks.1.attention",
        "decoder.blocks.1.cross",
        "decoder.blocks.0",
    }
    cross = out.kept["decoder.blocks.1.cross"]
    assert cross.shape == (2, 4, 6, 9)
    torch.testing.assert_close(cross.sum(-1), torch.ones(2, 4, 6).double())
    torch.testing.assert_close(out.states, run(model, batch).states, atol=1e-10, rtol=0)


def test_beams_can_be_reordered_with_their_encoder_states():
    model, batch = make(), tokens()
    whole, cache = run(model, batch).states, model.new_cache()
    run(model, batch.but(decoder_ids=batch.decoder_ids[:, :5]), cache=cache)
    order = torch.tensor([1, 0])
    cache.reorder(order)
    last = run(model, Batch(ids=batch.ids[order], decoder_ids=batch.decoder_ids[order, 5:]), cache=cache)
    torch.testing.assert_close(last.states, whole[order, 5:], atol=1e-10, rtol=0)


def test_a_post_norm_decoder_layer_equals_that_of_torch():
    model = make(
        norm="layer",
        join="post",
        positions="none",
        attention="softmax",
        ffn={"kind": "mlp", "activation": "relu"},
        layers=1,
    )
    block, theirs = (
        model.decoder.blocks[0],
        torch.nn.TransformerDecoderLayer(16, 4, 64, batch_first=True).eval().double(),
    )
    with torch.no_grad():
        for ours, name in ((block.attention, "self_attn"), (block.cross, "multihead_attn")):
            into = theirs.get_submodule(name)
            into.in_proj_weight.copy_(torch.cat([ours.to_q.weight, ours.to_k.weight, ours.to_v.weight]))
            into.in_proj_bias.copy_(torch.cat([ours.to_q.bias, ours.to_k.bias, ours.to_v.bias]))
            into.out_proj.load_state_dict(ours.to_out.state_dict())
        theirs.linear1.load_state_dict(block.ffn.up.state_dict())
        theirs.linear2.load_state_dict(block.ffn.down.state_dict())
    batch = tokens()
    out = run(model, batch)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(6).double()
    wanted = theirs(model.embed(batch.decoder_ids), out.encoder_states, tgt_mask=mask, tgt_is_causal=True)
    torch.testing.assert_close(out.states, wanted, atol=1e-10, rtol=0)


@pytest.mark.contract
def test_both_stacks_compile_without_a_break():
    torch._dynamo.reset()
    model, batch = make(), tokens()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(run(compiled, batch).states, run(model, batch).states)


def test_post_norm_stacks_are_those_of_torchs_own_transformer():
    """Without its final norms, which the paper's model does not have."""
    ffn = {"kind": "mlp", "width": 24, "activation": "relu"}
    model = make(join="post", norm="layer", positions="none", attention="softmax", ffn=ffn)
    theirs = torch.nn.Transformer(16, 4, 2, 2, 24, dropout=0.0, batch_first=True).double().eval()
    theirs.encoder.norm = theirs.decoder.norm = None
    for mine, his in ((model.encoder, theirs.encoder), (model.decoder, theirs.decoder)):
        for block, layer in zip(mine.blocks, his.layers, strict=True):
            reads = [(block.attention, layer.self_attn)]
            joins = [(block.join_attention, layer.norm1)]
            if hasattr(block, "cross"):
                reads.append((block.cross, layer.multihead_attn))
                joins += [(block.join_cross, layer.norm2), (block.join_ffn, layer.norm3)]
            else:
                joins.append((block.join_ffn, layer.norm2))
            for ours, torchs in reads:
                projections = (ours.to_q, ours.to_k, ours.to_v)
                torchs.in_proj_weight.data = torch.cat([p.weight.data for p in projections])
                torchs.in_proj_bias.data = torch.cat([p.bias.data for p in projections])
                torchs.out_proj.load_state_dict(ours.to_out.state_dict())
            for ours, torchs in joins:
                torchs.load_state_dict(ours.norm.state_dict())
            layer.linear1.load_state_dict(block.ffn.up.state_dict())
            layer.linear2.load_state_dict(block.ffn.down.state_dict())
    batch = tokens().but(valid=torch.arange(9).expand(2, -1) < torch.tensor([[9], [6]]))
    out = run(model, batch, valid(batch.valid))
    causal = torch.ones(6, 6, dtype=torch.bool).triu(1)
    hidden = ~batch.valid
    wanted = theirs(
        model.embed(batch.ids), model.embed(batch.decoder_ids),
        tgt_mask=causal, src_key_padding_mask=hidden, memory_key_padding_mask=hidden,
    )  # fmt: skip
    torch.testing.assert_close(out.states, wanted, atol=1e-10, rtol=0)


def test_pre_norm_ends_each_stack_with_a_norm_of_its_own():
    """What mBART and PEGASUS have; a norm after the embedding may stand beside it."""
    settings = {
        "join": "pre",
        "norm": "layer",
        "positions": "sinusoidal",
        "embedding": {"kind": "tokens", "norm": "layer"},
    }
    names = dict(make(**settings).named_parameters())
    for stack in ("encoder", "decoder"):
        assert f"{stack}.norm.weight" in names and f"{stack}.embedding.norm.weight" in names


def test_the_wave_of_a_place_is_a_linear_map_of_that_of_another_at_its_distance():
    model = make(positions="sinusoidal")
    place = model.encoder.positions
    wave = place.add(torch.zeros(1, 40, 16), torch.arange(40)[None])[0].double()
    solved = torch.linalg.lstsq(wave[:-7], wave[7:]).solution  # the same map for every place
    torch.testing.assert_close(wave[:-7] @ solved, wave[7:], atol=1e-4, rtol=0)
