from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from modeledge.core import Facts, find


class Wide:
    width = 6


def normed(x):
    return (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()


def test_both_layers_read_values_of_one_scale_over_the_batch():
    torch.manual_seed(0)
    part = find("heads", "batch_normed")
    head = part(part.Config(kind="batch_normed", hidden=4, dropout=(0.0, 0.0)), Facts(), Wide(), outputs=3)
    x = 0.01 * torch.randn(9, 6) + 3
    inner, last = head.read[2], head.out[2]
    hidden = F.relu(normed(x) @ inner.weight.T + inner.bias)
    torch.testing.assert_close(head(x), normed(hidden) @ last.weight.T + last.bias)


def test_afterwards_a_row_s_scores_are_its_own_and_close_to_those_of_training():
    torch.manual_seed(0)
    part = find("heads", "batch_normed")
    head = part(part.Config(kind="batch_normed", hidden=4, dropout=(0.0, 0.0)), Facts(), Wide(), outputs=3)
    x = 0.01 * torch.randn(500, 6) + 3
    for _ in range(100):
        trained = head(x)
    head.eval()
    torch.testing.assert_close(head(x[:1]), head(x)[:1])
    torch.testing.assert_close(head(x), trained, atol=0.05, rtol=0)


@pytest.mark.parametrize("rates", [(1.0, 0.1), (0.4, -0.1)])
def test_a_rate_is_a_share_and_some_of_the_values_stay(rates):
    with pytest.raises(ValidationError, match="dropout"):
        find("heads", "batch_normed").Config(kind="batch_normed", dropout=rates)
