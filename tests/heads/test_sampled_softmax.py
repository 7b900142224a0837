import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modeledge.core import IGNORE, Facts, find
from modeledge.heads.sampled_softmax import noise_of


class Backbone(torch.nn.Module):
    width = 6


def make(v=50, **settings):
    torch.manual_seed(0)
    facts = Facts(vocab=v, special={"pad": 0}, counts=np.r_[0.0, np.linspace(900, 1, v - 1)])
    part = find("heads", "sampled_softmax")
    return part(part.Config(kind="sampled_softmax", **settings), facts, Backbone())


@pytest.mark.parametrize("noise", ["log_uniform", "unigram"])
def test_words_are_drawn_as_often_as_the_noise_says_and_every_word_can_be(noise):
    head = make(noise=noise, negatives=100_000)
    p = noise_of(Facts(vocab=50, counts=np.r_[0.0, np.linspace(900, 1, 49)]), noise)
    n = 100_000
    drawn = np.bincount(head.draw().numpy(), minlength=50)
    assert p.min() > 0 and abs(p.sum() - 1) < 1e-9
    assert (np.abs(drawn - n * p) <= 3.5 * np.sqrt(n * p * (1 - p)) + 1e-9).all()
    torch.testing.assert_close(head.log_expected.exp(), torch.from_numpy(n * p).float())


def test_training_samples_and_evaluation_does_not():
    head = make(negatives=20)
    states, labels = torch.randn(7, 6), torch.tensor([1, 4, IGNORE, 9, 3, 3, 40])
    full = F.cross_entropy(head(states), labels, ignore_index=IGNORE, reduction="sum")
    first, second = head.loss(states, labels), head.loss(states, labels)
    assert first.total != second.total and first.count == 6
    torch.testing.assert_close(head.eval().loss(states, labels).total, full)
    torch.testing.assert_close(make(negatives=0).train().loss(states, labels).total, full)


def test_a_smoothed_loss_is_that_of_all_words_in_training_too():
    head = make(negatives=20).train()
    states, labels = torch.randn(7, 6), torch.tensor([1, 4, IGNORE, 9, 3, 3, 40])
    wanted = F.cross_entropy(head(states), labels, ignore_index=IGNORE, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(head.loss(states, labels, smoothing=0.1).total, wanted)


def test_the_sampled_loss_is_near_the_full_one_and_never_far_above():
    head = make(negatives=2000)
    states, labels = torch.randn(200, 6), torch.randint(1, 50, (200,))
    full = head.eval().loss(states, labels).mean()
    head.train()
    sampled = torch.stack([head.loss(states, labels).mean() for _ in range(20)]).mean()
    assert abs(sampled - full) < 0.01
