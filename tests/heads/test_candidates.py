"""Scores of candidates by a plain loop."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modeledge.core import Facts, build, find
from modeledge.heads.candidates import Candidates


def test_a_candidate_s_score_is_its_product_with_the_transformed_state_and_padding_has_no_chance():
    torch.manual_seed(0)
    norm = find("layers.norms", "layer").Config(kind="layer")
    backbone = nn.Module()
    backbone.width, backbone.entity = 6, nn.Embedding(9, 4)
    backbone.config = type("Config", (), {"norm": norm})
    head = build("heads", Candidates.Config(kind="candidates"), Facts(), backbone)
    states, candidates = torch.randn(3, 6), torch.tensor([7, 2, -1])
    with torch.no_grad():
        scores = head(states, candidates)
        for i in range(3):
            hidden = nn.functional.gelu(states[i] @ head.dense.weight.T + head.dense.bias)
            hidden = (hidden - hidden.mean()) / (hidden.var(unbiased=False) + head.norm.eps).sqrt()
            for j in (0, 1):
                wanted = float(hidden @ backbone.entity.weight[candidates[j]])
                assert float(scores[i, j]) == pytest.approx(wanted, abs=1e-5)
        assert (scores.softmax(1)[:, 2] == 0).all()
    assert "entity" not in dict(head.named_parameters())
    with torch.autocast("cpu", torch.bfloat16):  # the layer's states are rounded, the products are not
        rounded = head(states, candidates)[:, :2].detach()
    assert not torch.equal(rounded, rounded.bfloat16().float())
