"""Small networks from states to scores. A kind is built with (config, facts, backbone) and, where the number of classes
is the task's, `outputs`."""

from __future__ import annotations

from torch import nn

INIT_STD = 0.02
"""Standard deviation of a head's weights: what BERT, GPT-2 and ViT start theirs with."""


def linear(width: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A layer whose weights are drawn with INIT_STD and whose bias is 0."""
    layer = nn.Linear(width, outputs, bias=bias)
    nn.init.normal_(layer.weight, std=INIT_STD)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
