"""The contexts' table of GloVe against the formula of its score."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from modeledge.core import Facts, find


def test_the_score_is_the_product_of_both_vectors_and_both_biases_and_starts_small():
    torch.manual_seed(0)
    part = find("heads", "context")
    head = part(part.Config(kind="context"), Facts(vocab=9), SimpleNamespace(width=4))
    states, ids, others = torch.randn(2, 5, 4), torch.randint(9, (2, 5)), torch.randint(9, (2, 5))
    found = head(states, ids, others)
    for place in [(0, 0), (1, 3)]:
        i, j = ids[place], others[place]
        expected = states[place] @ head.weight[j] + head.word_bias[i] + head.bias[j]
        torch.testing.assert_close(found[place], expected)
    assert all(0 < p.abs().max() <= 0.5 / 4 for p in head.parameters())
