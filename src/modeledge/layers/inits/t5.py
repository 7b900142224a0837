"""T5's: unscaled attention is made up for by small queries. Source: the released code of arXiv:1910.10683."""

from __future__ import annotations

from torch import nn

from modeledge.core import PartConfig
from modeledge.layers.inits import Init


class T5(Init):
    class Config(PartConfig):
        """Nothing to set."""

    def std(self, name: str, module: nn.Module) -> float:
        if name.endswith("to_q"):
            return (self.sizes.width * self.sizes.head_width) ** -0.5
        if isinstance(module, nn.Linear):
            return module.in_features**-0.5
        return 1.0 if name.endswith("word") else self.sizes.width**-0.5
