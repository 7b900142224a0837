from __future__ import annotations

import torch

from modeledge.core import Batch, find
from modeledge.layers import Sizes


def test_a_row_is_its_last_state_beside_the_largest_and_the_mean_of_its_real_ones():
    pool = find("layers.pools", "concat")
    made = pool(pool.Config(kind="concat"), Sizes(width=5, heads=1, head_width=5))
    torch.manual_seed(0)
    states, lengths = torch.randn(3, 7, 5), [7, 4, 1]
    valid = torch.arange(7) < torch.tensor(lengths)[:, None]
    found = made(states.masked_fill(~valid[..., None], 99.0), Batch(ids=valid, valid=valid))
    for row, n in enumerate(lengths):
        real = states[row, :n]
        torch.testing.assert_close(found[row], torch.cat([real[-1], real.max(0).values, real.mean(0)]))
    assert made.width == found.shape[1] == 15
    torch.testing.assert_close(made(states, Batch(ids=valid))[0], found[0])
