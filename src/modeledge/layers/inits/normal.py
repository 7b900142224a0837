"""One standard deviation for all weights, optionally less where a branch joins the residual stream.

Sources: GPT and BERT (0.02); GPT-2 §2.3 (the last layer of each branch divided by the root of their number)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from modeledge.core import PartConfig
from modeledge.layers import Sizes
from modeledge.layers.inits import Init


class Normal(Init):
    class Config(PartConfig):
        """residual scaled: std / sqrt(2 layers) for the last layer of each branch."""

        std: float = Field(0.02, gt=0)
        residual: Literal["plain", "scaled"] = "plain"

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        self.plain = config.std
        self.joined = config.std if config.residual == "plain" else config.std / (2 * sizes.layers) ** 0.5

    def std(self, name: str, module: nn.Module) -> float:
        return self.joined if name.endswith(("attention.to_out", "cross.to_out", "ffn.down")) else self.plain
