"""SiATL's task layer against a plain loop over rows."""

from __future__ import annotations

import torch

from modeledge.core import Batch, find
from modeledge.layers import Sizes


def make(**settings):
    torch.manual_seed(0)
    part = find("layers.pools", "lstm_attention")
    return part(part.Config(kind="lstm_attention", width=5, **settings), Sizes(width=8, heads=1, head_width=8)).eval()


def test_the_vector_is_that_of_each_row_by_itself_without_padding():
    pool, states, sizes = make(), torch.randn(4, 7, 8), (7, 4, 1, 6)
    valid = torch.arange(7) < torch.tensor(sizes)[:, None]
    found = pool(states, Batch(valid=valid))
    assert found.shape == (4, pool.width) == (4, 5)
    for row, size in enumerate(sizes):
        x = pool.read(states[row, :size])[0]
        scores = torch.stack([(pool.score.weight[0] @ h + pool.score.bias[0]).tanh() for h in x])
        shares = scores.exp() / scores.exp().sum()
        torch.testing.assert_close(found[row], sum(a * h for a, h in zip(shares, x, strict=True)))


def test_padding_has_no_share_and_the_others_sum_to_one():
    pool, valid = make(), torch.arange(7) < torch.tensor([[7], [3]])
    shares = pool.weights(torch.randn(2, 7, 5), Batch(valid=valid))
    assert (shares[~valid] == 0).all() and (shares[valid] > 0).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(2))


def test_what_stands_at_padding_changes_nothing():
    pool, valid = make(), torch.arange(7) < torch.tensor([[5], [3]])
    states = torch.randn(2, 7, 8)
    other = torch.where(valid[..., None], states, 99.0)
    torch.testing.assert_close(pool(states, Batch(valid=valid)), pool(other, Batch(valid=valid)))
