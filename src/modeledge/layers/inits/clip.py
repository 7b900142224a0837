"""CLIP's: narrower at the width and the depth. Source: arXiv:2103.00020, the authors' code."""

from __future__ import annotations

from torch import nn

from modeledge.core import PartConfig
from modeledge.layers.inits import Init


class Clip(Init):
    class Config(PartConfig):
        """Nothing to set."""

    def std(self, name: str, module: nn.Module) -> float:
        width, depth = self.sizes.width, (2 * self.sizes.layers) ** -0.5
        if name.endswith(("to_q", "to_k", "to_v")):
            return width**-0.5
        if name.endswith(("to_out", "ffn.down")):
            return width**-0.5 * depth
        if name.endswith("ffn.up"):
            return (2 * width) ** -0.5
        return 0.01 if name.startswith("positions") else 0.02
