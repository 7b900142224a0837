"""Products that autocast leaves alone."""

from __future__ import annotations

import torch

from modeledge.losses.products import products


def test_autocast_takes_no_bit_of_a_product_away():
    left, right = torch.randn(3, 4, 8) * 10, torch.randn(3, 5, 8) * 10
    wanted = torch.stack([a @ b.T for a, b in zip(left, right, strict=True)])
    with torch.autocast("cpu", torch.bfloat16):
        assert (left @ right.mT).dtype == torch.bfloat16
        found = products(left, right)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted)
