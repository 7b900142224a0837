"""The softmax in two steps against torch's own and against sums to one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from modeledge.core import IGNORE, Facts, RecipeError, build, find


def head(cutoffs, vocab=50, width=12):
    torch.manual_seed(0)
    embed = nn.Embedding(vocab, width)
    config = find("heads", "adaptive").Config(kind="adaptive", cutoffs=cutoffs)
    made = build("heads", config, Facts(vocab=vocab), SimpleNamespace(width=width, embed=embed))
    nn.init.normal_(made.bias)
    return made, embed


def test_probabilities_sum_to_one_and_the_loss_is_theirs():
    made, _ = head((10, 30))
    states, labels = torch.randn(40, 12), torch.randint(0, 50, (40,))
    labels[::7] = IGNORE
    scores = made(states)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(40), atol=1e-5, rtol=0)
    found = made.loss(states, labels)
    wanted = nn.functional.nll_loss(scores, labels, ignore_index=IGNORE, reduction="sum")
    torch.testing.assert_close(found.total, wanted, atol=1e-4, rtol=1e-5)
    assert int(found.count) == int((labels != IGNORE).sum())


def test_scores_and_loss_are_those_of_torchs_adaptive_softmax_with_the_same_matrices():
    made, embed = head((10, 30))
    nn.init.zeros_(made.bias)  # theirs has none in the tails
    nn.init.zeros_(made.clusters.bias)
    theirs = nn.AdaptiveLogSoftmaxWithLoss(12, 50, [10, 30], div_value=1.0)
    with torch.no_grad():
        theirs.head.weight.copy_(torch.cat([embed.weight[:10], made.clusters.weight]))
        for (narrow, words), (a, b) in zip(theirs.tail, ((10, 30), (30, 50)), strict=True):
            narrow.weight.copy_(torch.eye(12))
            words.weight.copy_(embed.weight[a:b])
    states, labels = torch.randn(30, 12), torch.arange(30) + 15
    torch.testing.assert_close(made(states), theirs.log_prob(states), atol=1e-5, rtol=0)
    torch.testing.assert_close(made.loss(states, labels).mean(), theirs(states, labels).loss, atol=1e-5, rtol=0)


def test_a_vocabulary_below_the_first_cutoff_has_the_plain_softmax():
    made, embed = head((100, 200))
    states, labels = torch.randn(9, 12), torch.arange(9)
    logits = states @ embed.weight.T + made.bias
    torch.testing.assert_close(made(states), logits.log_softmax(-1))
    wanted = nn.functional.cross_entropy(logits, labels, reduction="sum")
    torch.testing.assert_close(made.loss(states, labels).total, wanted)


def test_a_smoothed_loss_is_that_of_all_words():
    made, _ = head((10, 30))
    states, labels = torch.randn(40, 12), torch.randint(0, 50, (40,))
    wanted = nn.functional.cross_entropy(made(states), labels, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(made.loss(states, labels, smoothing=0.1).total, wanted)


def test_cutoffs_must_rise():
    with pytest.raises(RecipeError, match="cutoffs"):
        head((30, 10))
