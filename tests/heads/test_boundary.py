"""The span-boundary head against its formula, told in numpy."""

import math

import numpy as np
import torch
from torch import nn

from modeledge.core import Facts
from modeledge.heads.boundary import BoundaryHead
from modeledge.layers.embeddings import Table


class Backbone(nn.Module):
    """The least a head asks of a backbone."""

    config = None

    def __init__(self):
        super().__init__()
        self.width, self.embed = 8, Table(13, 8)


@torch.no_grad()
def test_two_layers_each_with_a_norm_and_then_the_tied_table():
    backbone = Backbone()
    head = BoundaryHead(BoundaryHead.Config(kind="boundary", places=4, position=3), Facts(vocab=13), backbone)
    for p in (*head.parameters(), *backbone.parameters()):
        p.normal_()
    left, right, place = torch.randn(5, 8), torch.randn(5, 8), torch.tensor([0, 3, 1, 1, 2])
    state = {n: p.double().numpy() for n, p in head.named_parameters()}
    x = np.concatenate([left, right, state["places.weight"][place]], axis=1)
    erf = np.vectorize(math.erf)
    for layer, norm in (("first", "norms.0"), ("second", "norms.1")):
        x = x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
        x = x * 0.5 * (1 + erf(x / math.sqrt(2)))
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + head.norms[0].eps)
        x = x * state[f"{norm}.weight"] + state[f"{norm}.bias"]
    wanted = x @ backbone.embed.weight.double().numpy().T + state["decoder.bias"]
    np.testing.assert_allclose(head.decoder(head(left, right, place)).numpy(), wanted, rtol=1e-4, atol=1e-4)
    assert all(p is not backbone.embed.weight for p in head.parameters())
