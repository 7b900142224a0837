"""The judge of relevance: its loss and the scores of blocks, token by token."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from modeledge.core import Batch, Facts, Output, build, find

BLOCK = torch.tensor([[-1, -1, 0, 0, 1, 1, 1], [-1, 0, 0, 0, 0, -1, -1]])
MATTERS = torch.tensor([[0, 0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 0, 0]], dtype=torch.bool)


class Wide(nn.Module):
    width = 6


@pytest.fixture
def judged():
    """A judge without dropout, what it reads, and its scores token by token."""
    config = find("objectives", "relevance").Config.model_validate({"kind": "relevance", "head": {"kind": "per_token"}})
    judge = build("objectives", config, Facts(vocab=9), Wide()).eval()
    states = torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(0))
    out = Output(states=states)
    with torch.no_grad():
        scores = states @ judge.head.out.weight[0] * 1.0 + judge.head.out.bias
    return judge, out, Batch(ids=BLOCK, block=BLOCK, relevant=MATTERS), scores.double().numpy()


def test_the_loss_is_binary_cross_entropy_over_the_tokens_of_blocks(judged):
    judge, out, batch, scores = judged
    total, count = 0.0, 0
    for i in range(2):
        for j in range(7):
            if BLOCK[i, j] >= 0:
                p = 1 / (1 + math.exp(-scores[i, j]))
                total -= math.log(p if MATTERS[i, j] else 1 - p)
                count += 1
    found = judge.loss(out, batch)["relevance"]
    assert float(found.total.detach()) == pytest.approx(total, rel=1e-5) and int(found.count) == count == 9
    assert judge.counts(Batch(block=BLOCK.numpy())) == {"relevance": 9.0}


def test_a_block_scores_the_mean_of_its_tokens(judged):
    judge, out, batch, scores = judged
    chances = 1 / (1 + np.exp(-scores))
    wanted = [[chances[0, 2:4].mean(), chances[0, 4:7].mean()], [chances[1, 1:5].mean(), 0.0]]
    with torch.no_grad():
        assert judge.predict(out, batch).numpy() == pytest.approx(np.array(wanted), abs=1e-6)
