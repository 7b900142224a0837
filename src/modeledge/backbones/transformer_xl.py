"""A left-to-right Transformer that attends to what its layers read of the segment before, by relative distances.

Source: Transformer-XL, arXiv:1901.02860 §3 and the released scripts. Not here: the memory itself (objectives), two
streams (two_stream.py), tables that grow narrower with rarer words (the paper's second data set)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.backbones._levels import Levels
from modeledge.backbones.two_stream import EVERYTHING, Layer, Look, Settings, dense, draw
from modeledge.core import Batch, Facts, Output, Part, PartConfig, Slot, part
from modeledge.layers import Sizes
from modeledge.layers.attention import Keep
from modeledge.layers.attention._relative import distances
from modeledge.layers.dropout import Dropout
from modeledge.layers.embeddings import Table
from modeledge.visibility import Seen


class TransformerXL(nn.Module, Part):
    """Named intermediates: `embedding`, `blocks.3` (states), `blocks.3.attention` (weights over memory and segment)."""

    class Config(Settings):
        """biases: u and v are the same in all layers, or each layer's own."""

        width: int = Field(410, ge=2)
        layers: int = Field(16, ge=1)
        heads: int = Field(10, ge=1)
        ffn: Annotated[PartConfig, Slot("layers.ffn")] = part("mlp", activation="relu")
        biases: Literal["shared", "own"] = "shared"

    def __init__(self, config: Config, facts: Facts):
        super().__init__()
        self.config, self.width = config, config.width
        head = config.width // config.heads
        sizes = Sizes(config.width, config.heads, head, layers=config.layers, dropout=config.dropout)
        self.embed = Table(facts.vocab, config.width)
        self.blocks = nn.ModuleList(Layer(config, sizes, segments=False) for _ in range(config.layers))
        if config.biases == "shared":
            first: Layer = self.blocks[0]  # type: ignore[assignment]
            for block in self.blocks:
                block.attention.content_bias = first.attention.content_bias  # type: ignore[union-attr]
                block.attention.distance_bias = first.attention.distance_bias  # type: ignore[union-attr]
        self.dropout = Dropout(config.dropout)
        draw(self, config.std)

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        return [("embed",), *((f"blocks.{i}",) for i in range(len(self.blocks)))]

    def forward(
        self,
        batch: Batch,
        seen: Seen = EVERYTHING,
        *,
        keep: Collection[str] = (),
        cache: None = None,
        memory: Float[Tensor, "b n k d"] | None = None,
    ) -> Output:
        """States of every token; without a mask, under no visibility but what `seen` says.

        memory: what each layer read of the k tokens before the row; `seen` begins with them. The output's `memory` is
        what each layer read of this row, with its gradient."""
        kept, t = Keep(keep), batch["ids"].shape[1]
        past = 0 if memory is None else memory.shape[2]
        x = self.dropout(kept("embedding", self.embed(batch["ids"]) * self.width**0.5))
        far = self.dropout(distances(self.width, t, past + t, clamp=self.config.clamp, like=x))
        mask, read = dense(seen, t, past, x.device), []
        for i, block in enumerate(self.blocks):
            read.append(x)
            whole = x if memory is None else torch.cat([memory[:, i].to(x.dtype), x], dim=1)
            keys = block.attention.keys(whole, far)  # type: ignore[union-attr]
            x = kept(f"blocks.{i}", block(x, keys, Look(f"blocks.{i}.attention", mask, None, None, t), kept))
        return Output(states=self.dropout(x), kept=kept.found, memory=read)
