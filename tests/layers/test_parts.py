"""Norms, joins, feed-forward, embeddings, pools and first weights against their definitions."""

import math

import pytest
import torch
import torch.nn.functional as F

from modeledge.core import Batch, Facts, InputError, RecipeError, build, find
from modeledge.layers import Sizes
from modeledge.layers.activations import ACTIVATIONS

SIZES = Sizes(width=8, heads=2, head_width=4, layers=6, dropout=0.0)
FACTS = Facts(vocab=23)


def make(room, kind, *args, settings=None, **named):
    room = f"layers.{room}"
    return build(room, find(room, kind).Config(kind=kind, **(settings or {})), *args, **named)


NOWHERE = make("positions", "none", SIZES)


def norm():
    return make("norms", "layer", 8)


def test_layer_norm_has_mean_0_and_variance_1():
    y = make("norms", "layer", 8, settings={"eps": 1e-12})(5 + 3 * torch.randn(4, 8))
    torch.testing.assert_close(y.mean(-1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(-1, unbiased=False), torch.ones(4), atol=1e-4, rtol=0)


def test_rms_norm_has_root_mean_square_1_and_keeps_the_direction():
    x = 5 + torch.randn(4, 8)
    part = make("norms", "rms", 8)
    torch.testing.assert_close(part(x).pow(2).mean(-1), torch.ones(4))
    torch.testing.assert_close(F.cosine_similarity(part(x), x), torch.ones(4))
    assert [n for n, _ in part.named_parameters()] == ["weight"]


def test_joins_place_the_norm_where_their_name_says():
    x, n = torch.randn(1, 3, 8), norm()

    def double(y):
        return 2 * y

    post, pre, sandwich = (make("joins", k, norm, dropout=0.0) for k in ("post", "pre", "sandwich"))
    torch.testing.assert_close(post(x, double), n(x + 2 * x))
    torch.testing.assert_close(pre(x, double), x + 2 * n(x))
    torch.testing.assert_close(sandwich(x, double), x + n(2 * n(x)))


def test_a_stack_ends_in_a_norm_unless_every_block_does():
    ends = {k: find("layers.joins", k).finish(norm) for k in ("post", "pre", "sandwich")}
    assert isinstance(ends["post"], torch.nn.Identity)
    assert all(isinstance(ends[k], torch.nn.LayerNorm) for k in ("pre", "sandwich"))


def test_dropout_acts_on_what_a_branch_adds_not_on_the_stream():
    join = make("joins", "pre", norm, dropout=0.9)
    x = torch.randn(1, 50, 8)
    added = join(x, torch.ones_like) - x
    assert set(added.round(decimals=3).unique().tolist()) == {0.0, 10.0}


def test_mlp_and_gated_are_their_formulas():
    x = torch.randn(5, 8)
    mlp, gated = (make("ffn", k, SIZES, settings={"width": 11, "activation": "silu"}) for k in ("mlp", "gated"))
    torch.testing.assert_close(mlp(x), mlp.down(F.silu(mlp.up(x))))
    torch.testing.assert_close(gated(x), gated.down(F.silu(gated.gate(x)) * gated.up(x)))
    assert make("ffn", "mlp", SIZES).up.out_features == 32


def test_activations_at_one_point():
    x = torch.tensor(1.3, dtype=torch.float64)
    wanted = {
        "gelu": 0.5 * 1.3 * (1 + math.erf(1.3 / 2**0.5)),
        "gelu_tanh": 0.5 * 1.3 * (1 + math.tanh((2 / math.pi) ** 0.5 * (1.3 + 0.044715 * 1.3**3))),
        "quick_gelu": 1.3 / (1 + math.exp(-1.702 * 1.3)),
        "silu": 1.3 / (1 + math.exp(-1.3)),
        "relu": 1.3,
        "relu_squared": 1.69,
        "tanh": math.tanh(1.3),
        "identity": 1.3,
    }
    assert {name: pytest.approx(float(f(x))) for name, f in ACTIVATIONS.items()} == wanted


def test_token_vectors_add_up_and_absent_segments_are_the_first():
    part = make("embeddings", "tokens", FACTS, SIZES, settings={"types": {"segments": 2}})
    batch = Batch(ids=torch.tensor([[3, 5]]))
    first = part(batch.but(segments=torch.zeros(1, 2, dtype=torch.long)), NOWHERE, part.places(batch, 0))
    assert torch.equal(part(batch, NOWHERE, part.places(batch, 0)), first)
    torch.testing.assert_close(first[0], part.word.weight[[3, 5]] + part.types["segments"].weight[0])


def test_a_field_with_more_values_in_the_data_than_rows_here_is_refused_before_training():
    few = {"types": {"lang": 2, "segments": 2}}
    make("embeddings", "tokens", Facts(vocab=23, types={"lang": 2}), SIZES, settings=few)
    with pytest.raises(RecipeError, match=r"(?s)types\.lang: 2 rows, and the data has 5 .*types\.lang=5"):
        make("embeddings", "tokens", Facts(vocab=23, types={"lang": 5}), SIZES, settings=few)


def test_a_narrow_table_is_projected_and_scaled_if_asked():
    settings = {"width": 4, "scale": "root"}
    part = make("embeddings", "tokens", FACTS, SIZES, settings=settings)
    batch = Batch(ids=torch.tensor([[3]]))
    assert part.word.weight.shape == (23, 4) and part.word.width == part.width == 4
    torch.testing.assert_close(part(batch, NOWHERE, part.places(batch, 0)), part.project(2 * part.word(batch.ids)))


def test_position_ids_of_the_batch_win_over_counting():
    part = make("embeddings", "tokens", FACTS, SIZES)
    batch = Batch(ids=torch.zeros(1, 3, dtype=torch.long))
    assert part.places(batch, 4).tolist() == [[4, 5, 6]]
    assert part.places(batch.but(positions=torch.tensor([[0, 1, 0]])), 4).tolist() == [[0, 1, 0]]


def test_patches_equal_unfolding_and_a_linear_layer():
    part = make("embeddings", "patches", Facts(), SIZES, settings={"patch": 4, "size": 8})
    image = torch.randn(2, 8, 12, 3)
    out = part(Batch(image=image), NOWHERE, part.places(Batch(image=image), 0))
    cut = F.unfold(image.permute(0, 3, 1, 2), 4, stride=4).transpose(1, 2)
    wanted = cut @ part.patch.weight.flatten(1).T + part.patch.bias
    torch.testing.assert_close(out[:, 1:], wanted, atol=1e-5, rtol=0)
    assert out.shape == (2, 1 + 2 * 3, 8) and torch.equal(out[:, 0], part.first[:, 0].expand(2, -1))


def test_pictures_that_patches_do_not_divide_are_refused():
    with pytest.raises(RecipeError, match="5 does not divide"):
        make("embeddings", "patches", Facts(), SIZES, settings={"patch": 5, "size": 8})
    part = make("embeddings", "patches", Facts(), SIZES, settings={"patch": 4, "size": 8})
    with pytest.raises(InputError, match="9 x 8 pixels"):
        part.places(Batch(image=torch.zeros(1, 9, 8, 3)), 0)


def test_pools_ignore_padding():
    states, valid = torch.randn(3, 4, 8), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]]).bool()
    batch = Batch(valid=valid)
    last, mean = make("pools", "last", SIZES), make("pools", "mean", SIZES)
    torch.testing.assert_close(last(states, batch), states[[0, 1, 2], [1, 3, 2]])
    alone = [s[v].mean(0) for s, v in zip(states, valid, strict=True)]
    torch.testing.assert_close(mean(states, batch), torch.stack(alone))
    torch.testing.assert_close(last(states, Batch()), states[:, -1])
    torch.testing.assert_close(mean(states, Batch()), states.mean(1))


def test_first_pools_are_the_first_state_raw_or_through_a_layer():
    states = torch.randn(3, 4, 8)
    dense = make("pools", "first", SIZES)
    torch.testing.assert_close(make("pools", "cls", SIZES)(states, Batch()), states[:, 0])
    torch.testing.assert_close(dense(states, Batch()), torch.tanh(dense.dense(states[:, 0])))


def stack(init, **settings):
    config = {"kind": "transformer", "width": 96, "layers": 6, "heads": 4, "join": "pre", "init": init, **settings}
    backbone = find("backbones", "transformer")
    return backbone(backbone.Config.model_validate(config), Facts(vocab=300))


def within_3_sigma(weight, std):
    """The sample's standard deviation against its own spread, std / sqrt(2 n)."""
    return abs(weight.detach().std().item() - std) < 3 * std / math.sqrt(2 * weight.numel())


def test_gpt2_divides_the_last_layer_of_each_branch_by_the_root_of_their_number():
    model = stack({"kind": "normal", "residual": "scaled"})
    block = model.blocks[0]
    for layer, std in ((block.attention.to_out, 0.02 / 12**0.5), (block.ffn.down, 0.02 / 12**0.5)):
        assert within_3_sigma(layer.weight, std)
    for layer in (block.attention.to_q, block.ffn.up, model.embedding.word, model.positions.table):
        assert within_3_sigma(layer.weight, 0.02)


def test_tables_may_have_a_deviation_of_their_own():
    model = stack({"kind": "normal", "std": 0.08, "tables": 0.03})
    assert all(within_3_sigma(table.weight, 0.03) for table in (model.embedding.word, model.positions.table))
    assert all(within_3_sigma(m.weight, 0.08) for m in (model.blocks[0].attention.to_q, model.blocks[5].ffn.down))


def test_t5_makes_up_for_unscaled_scores_with_small_queries():
    model = stack({"kind": "t5"}, positions="bucketed")
    block = model.blocks[0]
    wanted = {
        block.attention.to_q: (96 * 24) ** -0.5,
        block.attention.to_k: 96**-0.5,
        block.attention.to_out: 96**-0.5,
        block.ffn.up: 96**-0.5,
        block.ffn.down: 384**-0.5,
        model.embedding.word: 1.0,
    }
    assert all(within_3_sigma(layer.weight, std) for layer, std in wanted.items())


def test_clip_narrows_at_the_width_and_the_depth():
    block = stack({"kind": "clip"}).blocks[0]
    wanted = {
        block.attention.to_q: 96**-0.5,
        block.attention.to_out: 96**-0.5 * 12**-0.5,
        block.ffn.up: 192**-0.5,
        block.ffn.down: 96**-0.5 * 12**-0.5,
    }
    assert all(within_3_sigma(layer.weight, std) for layer, std in wanted.items())
