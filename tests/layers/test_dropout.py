"""Dropout of a CPU against what torch's does: how often, by how much, and where the gradient goes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from modeledge.layers.dropout import FEW, Dropout, dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_share_of_the_numbers_is_zero_and_the_others_are_those_of_torch(rate, dtype):
    torch.manual_seed(0)
    x = torch.full((1003, 997), 2.0, dtype=dtype)
    out, known = dropout(x, rate), F.dropout(x, rate)
    assert set(out.unique().tolist()) == set(known.unique().tolist())
    gone = (out == 0).double()
    sigma = (rate * (1 - rate) / x.numel()) ** 0.5
    assert abs(float(gone.mean()) - rate) < 3 * sigma
    # neighbours, which share a draw of the generator, and rows know nothing of each other
    for other in (gone.flatten()[1:], gone.flatten()[3:], gone.flatten()[4:], gone.flatten()[997:]):
        both = float((gone.flatten()[: len(other)] * other).mean())
        assert abs(both - rate**2) < 4 * (rate**2 * (1 - rate**2) / len(other)) ** 0.5


def test_the_gradient_passes_where_the_number_did():
    x = torch.randn(160, 128, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    out = dropout(x, 0.25)
    slope = torch.randn_like(out)
    out.backward(slope)
    kept = out.detach() != 0
    torch.testing.assert_close(out.detach()[kept], (x.detach() / 0.75)[kept])
    torch.testing.assert_close(x.grad, slope * kept / 0.75)
    torch.manual_seed(1)
    assert torch.equal(dropout(x, 0.25), out)
    assert not torch.equal(dropout(x, 0.25), out)


def test_rows_that_lie_apart_are_dropped_as_they_are_read():
    x = torch.arange(1.0, FEW + 1).view(64, -1).t()
    out = dropout(x, 0.5)
    assert torch.equal(out[out != 0], (2 * x)[out != 0]) and out.shape == x.shape


def test_nothing_is_dropped_where_nothing_is_to_be():
    x = torch.randn(FEW)
    part = Dropout(0.5)
    assert not torch.equal(part(x), x)
    assert torch.equal(part.eval()(x), x) and torch.equal(dropout(x, 0.0), x)


def test_few_numbers_are_dropped_by_torch():
    x = torch.randn(FEW - 1)
    torch.manual_seed(2)
    out = dropout(x, 0.5)
    torch.manual_seed(2)
    assert torch.equal(out, F.dropout(x, 0.5))


def test_what_is_computed_again_drops_the_same():
    x = torch.randn(FEW, requires_grad=True)
    out = checkpoint(lambda x: dropout(x, 0.5).square(), x, use_reentrant=False)
    out.sum().backward()
    torch.testing.assert_close(x.grad, 8 * x.detach() * (out.detach() != 0))
