"""The Transformer as a stack of slots: encoder or decoder is a matter of who may see whom, the rest of what is put in.

Sources: arXiv:1706.03762; what BERT, RoBERTa, ALBERT, ELECTRA, UniLM, GPT-2, ViT and CLIP's towers changed is in the
parts (layers/) and the recipes. Not here: encoder-decoders (encoder_decoder.py), two streams (two_stream.py)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from modeledge.backbones._block import Block, CrossBlock
from modeledge.core import Batch, Facts, Output, Part, PartConfig, Slot, build, part
from modeledge.layers import Sizes
from modeledge.layers.attention import Across, Cache, Context, Keep
from modeledge.visibility import Seen


class Transformer(nn.Module, Part):
    """Named intermediates: `embedding`, `blocks.3.attention` (weights b h t s), `blocks.3` (states after the block)."""

    class Config(PartConfig):
        """width, layers, heads, head_width (default: width over heads); share: what the layers have in common, in
        `groups` of layers; pool: how `pooled` is made; dropout: on embeddings and on what branches add;
        final_dropout: on the last states (T5)."""

        width: int = Field(768, ge=1)
        layers: int = Field(12, ge=0)
        heads: int = Field(12, ge=1)
        head_width: int | None = Field(None, ge=1)
        embedding: Annotated[PartConfig, Slot("layers.embeddings")] = part("tokens")
        positions: Annotated[PartConfig, Slot("layers.positions")] = part("learned")
        norm: Annotated[PartConfig, Slot("layers.norms")] = part("layer")
        join: Annotated[PartConfig, Slot("layers.joins")] = part("post")
        attention: Annotated[PartConfig, Slot("layers.attention")] = part("softmax")
        ffn: Annotated[PartConfig, Slot("layers.ffn")] = part("mlp")
        share: Literal["none", "all", "attention", "ffn"] = "none"
        groups: int = Field(1, ge=1)
        pool: Annotated[PartConfig | None, Slot("layers.pools")] = None
        dropout: float = Field(0.0, ge=0, lt=1)
        final_dropout: float = Field(0.0, ge=0, lt=1)
        init: Annotated[PartConfig, Slot("layers.inits")] = part("normal")

        @model_validator(mode="after")
        def _divide(self) -> Transformer.Config:
            if self.head_width is None and self.width % self.heads:
                raise ValueError(f"width {self.width} is not divisible by {self.heads} heads; change one, or set head_width")
            if self.layers % self.groups:
                raise ValueError(f"{self.layers} layers cannot be cut into {self.groups} equal groups")
            return self

    def __init__(self, config: Config, facts: Facts, *, cross: bool = False):
        """cross: every block also attends to the states of an encoder (and each token sees only those before it)."""
        super().__init__()
        self.config, self.width = config, config.width
        sizes = Sizes(
            width=config.width,
            heads=config.heads,
            head_width=config.head_width or config.width // config.heads,
            layers=config.layers,
            dropout=config.dropout,
            past_only=cross,
        )
        self.embedding = build("layers.embeddings", config.embedding, facts, sizes)
        placed = Sizes(**{**vars(sizes), "embedded": self.embedding.width, "grid": self.embedding.grid})
        self.positions = build("layers.positions", config.positions, placed)
        self.blocks = make_blocks(config, sizes, cross=cross)
        self.final = nn.Sequential(self._join().finish(self._norm), nn.Dropout(config.final_dropout))
        self.pool = build("layers.pools", config.pool, sizes) if config.pool else None
        build("layers.inits", config.init, sizes)(self)
