"""Each scheme against its definition, and against transformers where it has the same."""

import math

import pytest
import torch

from modeledge.backbones.transformer import blend
from modeledge.core import InputError, RecipeError, build, find
from modeledge.layers import Sizes
from modeledge.visibility import Seen

SIZES = Sizes(width=16, heads=2, head_width=8, grid=(3, 3))
AT = torch.arange(20)[None]


def positions(kind, sizes=SIZES, **settings):
    return build("layers.positions", find("layers.positions", kind).Config(kind=kind, **settings), sizes)


def test_learned_places_begin_at_the_offset():
    part = positions("learned", max=10, offset=3)
    torch.testing.assert_close(part.add(torch.zeros(1, 7, 16), AT[:, :7])[0], part.table.weight[3:])


def test_rows_longer_than_the_table_are_refused_with_both_lengths():
    part = positions("learned", max=10, offset=2)
    part.check(8)
    with pytest.raises(InputError, match="rows are 9 tokens long and the table has 8 places"):
        part.check(9)


def test_sinusoids_equal_those_of_marian():
    marian = pytest.importorskip("transformers.models.marian.modeling_marian")
    theirs = marian.MarianSinusoidalPositionalEmbedding(20, 16)
    theirs.weight.data = theirs.create_weight()
    ours = positions("sinusoidal").add(torch.zeros(1, 20, 16), AT)
    torch.testing.assert_close(ours[0], theirs.weight.data, atol=1e-5, rtol=0)


def test_a_shift_of_sinusoids_is_a_linear_map():
    wave = positions("sinusoidal").add(torch.zeros(1, 60, 16), torch.arange(60)[None])[0].double()
    shift = torch.linalg.lstsq(wave[:50], wave[5:55]).solution
    torch.testing.assert_close(wave[:50] @ shift, wave[5:55], atol=1e-4, rtol=0)


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = torch.randn(2, 1, 1, 1, 8).expand(2, 1, 2, 20, 8)
    turn = positions("rotary").turn(AT)
    scores = (turn(q) @ turn(k).transpose(-1, -2))[0, 0]
    for distance in (-7, 0, 4):
        line = scores.diagonal(distance)
        torch.testing.assert_close(line, line[:1].expand_as(line), atol=1e-4, rtol=0)
    assert (scores.diagonal(3)[0] - scores.diagonal(9)[0]).abs() > 1e-3


def test_rotary_equals_that_of_llama():
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    q, k = torch.randn(2, 2, 2, 20, 8)
    angle = AT[..., None] * 10000.0 ** -(torch.arange(0, 8, 2) / 8)
    angle = torch.cat([angle, angle], -1)
    theirs = llama.apply_rotary_pos_emb(q, k, angle.cos(), angle.sin())
    turn = positions("rotary").turn(AT)
    torch.testing.assert_close((turn(q), turn(k)), theirs, atol=1e-5, rtol=0)


def test_rotary_refuses_heads_of_odd_width():
    with pytest.raises(RecipeError, match="even width"):
        positions("rotary", Sizes(width=10, heads=2, head_width=5))


@pytest.mark.parametrize("both", [True, False])
def test_buckets_equal_those_of_t5(both):
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    part = positions("bucketed", direction="both" if both else "past")
    distance = torch.arange(-300, 300)
    theirs = t5.T5Attention._relative_position_bucket(distance, bidirectional=both)
    assert torch.equal(part.bucket(distance), theirs)


def test_a_decoder_has_all_its_buckets_for_the_past():
    part = positions("bucketed", Sizes(width=16, heads=2, head_width=8, past_only=True))
    assert (part.bucket(torch.arange(1, 50)) == 0).all() and part.bucket(torch.tensor(-200)) == 31


def test_bias_has_one_value_for_each_head_and_distance():
    part, index = positions("bucketed"), torch.arange(6)
    bias = part.bias(index[2:], index)
    assert bias.shape == (1, 2, 4, 6)
    torch.testing.assert_close(bias[0, :, 0, 5], part.table.weight[part.bucket(torch.tensor(3))])


def on_grid(part, tokens, grid):
    return part.add(torch.zeros(1, tokens, 16), torch.arange(tokens)[None], grid)


def test_grid_at_its_own_resolution_is_the_table_and_at_others_keeps_cls():
    part = positions("grid")
    same = on_grid(part, 10, (3, 3))[0]
    assert torch.equal(same, part.table.weight)
    larger = on_grid(part, 1 + 6 * 6, (6, 6))[0]
    assert torch.equal(larger[0], part.table.weight[0])
    constant = positions("grid")
    torch.nn.init.constant_(constant.table.weight, 0.7)
    torch.testing.assert_close(on_grid(constant, 21, (5, 4)), torch.full((1, 21, 16), 0.7))


def test_grid_without_cls_leaves_its_row_out():
    part = positions("grid")
    assert torch.equal(on_grid(part, 9, (3, 3))[0], part.table.weight[1:])


def test_grid_needs_patches():
    with pytest.raises(RecipeError, match="patches"):
        positions("grid", Sizes(width=16, heads=2, head_width=8))


def test_sinusoid_of_place_zero():
    wave = positions("sinusoidal").add(torch.zeros(1, 2, 16), torch.tensor([[0, 1]]))[0]
    assert wave[0].tolist() == [0.0] * 8 + [1.0] * 8
    assert math.isclose(wave[1, 0], math.sin(1), rel_tol=1e-6)


def test_distances_must_outgrow_the_buckets_that_hold_one_each():
    """With 32 buckets a decoder's first 16 do: from 17 on every distance has a bucket, and a further one no lower."""
    with pytest.raises(ValueError, match="distance 16: the first 16 of 32 .* expected more than 16"):
        positions("bucketed", distance=16)
    for past in (True, False):
        sizes = Sizes(width=16, heads=2, head_width=8, past_only=past)
        buckets = positions("bucketed", sizes, distance=17).bucket(-torch.arange(400))
        assert (buckets.diff() >= 0).all() and buckets[0] == 0 and buckets[-1] == (31 if past else 15)


def test_a_term_of_the_scores_comes_in_their_precision_once_for_all_layers():
    part = positions("bucketed")
    with torch.autocast("cpu", torch.bfloat16):
        bias, _ = blend(Seen(causal=True), part, 20, 0, device=torch.device("cpu"))
    assert bias.dtype == torch.bfloat16
    plain, _ = blend(Seen(causal=True), part, 20, 0, device=torch.device("cpu"))
    assert torch.equal(bias, plain.bfloat16())
