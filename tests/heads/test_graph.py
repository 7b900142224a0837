"""The graph convolution against a loop over nodes and edges."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from modeledge.core import Facts, build, find


class Wide(nn.Module):
    width = 5


def gelu(v):
    return [0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in v]


def times(weight, v):
    return [sum(w * x for w, x in zip(row, v, strict=True)) for row in weight.tolist()]


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_each_node_hears_of_those_before_it_what_the_edges_say(layers):
    config = find("heads", "graph").Config(kind="graph", layers=layers)
    head = build("heads", config, Facts(), Wide()).double().eval()
    x, edges = torch.randn(2, 4, 5).double(), torch.rand(2, 4, 4).double()
    with torch.no_grad():
        found = head(x, edges)
    for g in range(2):
        nodes = x[g].tolist()
        for _ in range(layers):
            told = [gelu(times(head.heard.weight, v)) for v in nodes]
            kept = [times(head.kept.weight, v) for v in nodes]
            nodes = [
                gelu([kept[j][d] + sum(float(edges[g, i, j]) * told[i][d] for i in range(4)) for d in range(5)])
                for j in range(4)
            ]
        for j, v in enumerate(nodes):
            hidden = gelu(times(head.score.dense.weight, v))
            mean = sum(hidden) / 5
            spread = math.sqrt(sum((h - mean) ** 2 for h in hidden) / 5 + 1e-5)
            score = times(head.score.out.weight, [(h - mean) / spread for h in hidden])[0]
            assert float(found[g, j]) == pytest.approx(score, abs=1e-9)
