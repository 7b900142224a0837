"""How the weights of a stack are drawn. A kind is built with (config, sizes) and called on the stack.

Norms start at gain 1 and shift 0 as they are made; biases start at 0."""

from __future__ import annotations

from torch import nn

from modeledge.core import Part, PartConfig
from modeledge.layers import Sizes


class Init(Part):
    """init(stack) draws every weight of the stack anew, in place."""

    def __init__(self, config: PartConfig, sizes: Sizes):
        self.sizes = sizes

    def __call__(self, stack: nn.Module) -> None:
        for name, module in stack.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d):
                nn.init.normal_(module.weight, std=self.std(name, module))
            if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def std(self, name: str, module: nn.Module) -> float:
        """The standard deviation of the weights of the module that goes by this name in the stack."""
        raise NotImplementedError
