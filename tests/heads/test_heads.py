"""Heads against their formulas, and what a tied decoder is tied to."""

import copy

import pytest
import torch
from torch import nn

from modeledge.core import Facts, RecipeError
from modeledge.heads.classifier import Classifier
from modeledge.heads.per_token import PerToken
from modeledge.heads.token import TokenHead
from modeledge.layers.embeddings import Table


class Backbone(nn.Module):
    """The least a head asks of a backbone."""

    config = None

    def __init__(self, width=8, embedded=None):
        super().__init__()
        self.width = width
        self.embed = Table(13, embedded or width)


def token(backbone, **settings):
    return TokenHead(TokenHead.Config(kind="token", **settings), Facts(vocab=13), backbone)


def classifier(backbone, **settings):
    return Classifier(Classifier.Config(kind="classifier", **settings), Facts(), backbone, outputs=3)


def test_token_scores_go_through_a_layer_and_a_norm_to_the_table():
    backbone, x = Backbone(embedded=4), torch.randn(3, 8)
    part = token(backbone)
    assert [n for n, _ in part.named_parameters()] == ["bias", "dense.weight", "dense.bias", "norm.weight", "norm.bias"]
    narrow = part.norm(nn.functional.gelu(part.dense(x)))
    torch.testing.assert_close(part(x), narrow @ backbone.embed.weight.T + part.bias)


def test_a_tied_decoder_trains_the_backbones_table_and_follows_it_when_it_is_exchanged():
    backbone = Backbone()
    part = token(backbone, transform="none", bias=False)
    part(torch.randn(3, 8)).sum().backward()
    assert backbone.embed.weight.grad is not None and not list(part.parameters())
    other = Table(13, 8)
    backbone.embed = other
    assert part.table() is other.weight


def test_a_copied_model_is_tied_to_its_own_table():
    model = nn.ModuleDict({"backbone": Backbone()})
    model["head"] = token(model["backbone"])
    twin = copy.deepcopy(model)
    assert twin["head"].table() is twin["backbone"].embed.weight is not model["backbone"].embed.weight


def test_an_own_decoder_is_its_own_and_t5_scales_the_states():
    backbone, x = Backbone(), torch.randn(3, 8)
    own = token(backbone, transform="none", decoder="own", bias=False)
    assert own(x).shape == (3, 13) and [n for n, _ in own.named_parameters()] == ["decoder.weight"]
    scaled = token(backbone, transform="none", bias=False, scale="root")
    torch.testing.assert_close(scaled(x), x @ backbone.embed.weight.T / 8**0.5)


def test_a_narrow_table_cannot_decode_wide_states_without_a_layer():
    with pytest.raises(RecipeError, match="8 wide and the token table 4"):
        token(Backbone(embedded=4), transform="none")


def test_classifier_with_and_without_a_hidden_layer():
    x = torch.randn(5, 8)
    plain, deep = classifier(Backbone()), classifier(Backbone(), hidden=6)
    torch.testing.assert_close(plain(x), plain.out(x))
    torch.testing.assert_close(deep(x), deep.out(torch.tanh(deep.dense(x))))
    assert deep.dense.out_features == 6


def test_a_classifier_started_at_zero_says_nothing_at_first():
    assert not classifier(Backbone(), start="zero")(torch.randn(5, 8)).any()


def test_per_token_scores_keep_the_places():
    config = PerToken.Config(kind="per_token", transform="dense")
    part, x = PerToken(config, Facts(), Backbone(), outputs=2), torch.randn(5, 7, 8)
    torch.testing.assert_close(part(x), part.out(nn.functional.gelu(part.dense(x))))
    assert part(x).shape == (5, 7, 2)
