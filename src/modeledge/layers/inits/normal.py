"""One standard deviation for all weights, optionally less where a branch joins the residual stream.

Sources: GPT and BERT (0.02); GPT-2 §2.3 (the last layer of each branch divided by the root of their number);
Fixup, arXiv:1901.09321 §3 (zero)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from modeledge.core import PartConfig
from modeledge.layers import Sizes
from modeledge.layers.inits import Init


class Normal(Init):
    class Config(PartConfig):
        """residual: the last layer of each branch as all weights, scaled to std / sqrt(2 layers), or zero, so that
        every block begins as the identity; tables: another deviation for those of tokens, places and types: where the
        output is tied to one, the fresh model repeats its input the more the wider it is."""

        std: float = Field(0.02, gt=0)
        tables: float | None = Field(None, gt=0)
        residual: Literal["plain", "scaled", "zero"] = "plain"

    def __init__(self, config: Config, sizes: Sizes):
        super().__init__(config, sizes)
        self.plain, self.tables = config.std, config.tables or config.std
        self.joined = config.std * {"plain": 1.0, "scaled": (2 * sizes.layers) ** -0.5, "zero": 0.0}[config.residual]

    def std(self, name: str, module: nn.Module) -> float:
        if isinstance(module, nn.Embedding):
            return self.tables
        return self.joined if name.endswith(("attention.to_out", "cross.to_out", "ffn.down")) else self.plain
