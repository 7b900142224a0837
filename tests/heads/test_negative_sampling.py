import numpy as np
import pytest
import torch
from torch import nn

from modeledge.core import Facts, find


def make(counts, **settings):
    part = find("heads", "negative_sampling")
    backbone = nn.Module()
    backbone.width = 6
    facts = Facts(vocab=len(counts), special={"pad": 0, "unk": 1}, counts=np.array(counts, np.float64))
    return part(part.Config(kind="negative_sampling", **settings), facts, backbone)


@pytest.mark.parametrize("power", [0.75, 1.0])
def test_noise_words_are_drawn_with_the_power_of_their_frequency(power):
    counts = [50, 90, 1000, 400, 400, 7, 0, 25, 3]
    head = make(counts, power=power, draws=100)
    drawn = head.draw(2000, np.random.default_rng(0)).ravel()
    f = np.array([0, 0, *counts[2:]], float) ** power  # special tokens are never noise
    p, n = f / f.sum(), len(drawn)
    assert (np.abs(np.bincount(drawn, minlength=len(counts)) - n * p) <= 3 * np.sqrt(n * p * (1 - p)) + 1e-9).all()


def test_the_output_table_begins_at_zero_so_that_every_score_does():
    head = make([0, 0, 5, 5])
    assert torch.equal(head(torch.randn(3, 6)), torch.zeros(3, 4))
