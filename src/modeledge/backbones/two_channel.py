"""Tokens and entities in two channels: the upper layers attend among tokens and among entities, each by itself, and
fuse the two where an entity stands on a token.

Source: Tsinghua ERNIE, arXiv:1905.07129 §3.2-3.3: a lower stack that reads text alone (T-encoder) and an upper one of
aggregators (K-encoder). As in the released code the fused vector is the hidden layer of the feed-forward branch; unlike
there (and as in the paper) every aggregator has attention among entities, the lowest too. Not here: what is asked of
entities (objectives/entity_denoising.py)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from modeledge.backbones._block import Block, make_blocks
from modeledge.backbones._levels import Levels
from modeledge.backbones.transformer import EVERYTHING, blend
from modeledge.backbones.transformer import Transformer as _Transformer
from modeledge.core import Batch, Facts, InputError, Output, Part, build
from modeledge.layers import Sizes
from modeledge.layers.attention import Context, Keep
from modeledge.visibility import Seen, both, see


class Aggregator(nn.Module):
    """What an upper layer has besides a layer of text: attention among entities, and the ways from and to them."""

    def __init__(self, config: Any, sizes: Sizes, hidden: int):
        super().__init__()
        norm = partial(build, "layers.norms", config.norm, sizes.width)
        self.attention = build("layers.attention", config.attention, sizes)
        self.join_attention = build("layers.joins", config.join, norm, dropout=sizes.dropout)
        self.join_fused = build("layers.joins", config.join, norm, dropout=sizes.dropout)
        self.up = nn.Linear(sizes.width, hidden, bias=False)  # nothing is added where there is no entity
        self.down = nn.Linear(hidden, sizes.width)

    def forward(
        self,
        block: Block,
        x: Float[Tensor, "b t d"],
        entities: Float[Tensor, "b t e"],
        here: Bool[Tensor, "b t 1"],
        contexts: tuple[Context, Context],
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b t e"]]:
        """States of tokens and of entities after the layer; `block` is the layer of text."""
        ffn: Any = block.ffn
        x = block.join_attention(x, block.attention, contexts[0])
        entities = self.join_attention(entities, self.attention, contexts[1]) * here
        fused = ffn.dropout(ffn.activate(ffn.up(x) + self.up(entities) * here))
        return block.join_ffn(x, lambda _: ffn.down(fused)), self.join_fused(entities, lambda _: self.down(fused))


class TwoChannel(nn.Module, Part):
    """A Transformer encoder whose last `knowledge` layers also read the vectors of entities.

    Reads `entities` and `entity_starts`: an entity stands on the first token of its mention. Without entities it is the
    Transformer of the same settings, whose weights it can begin with."""

    added = ("knowledge", "entity")
    """Parts that a Transformer of the same settings lacks."""

    class Config(_Transformer.Config):
        """knowledge: how many of the layers read entities; entity_width, entity_heads: of the entities' channel;
        vectors: of the entities, as the store has them (frozen) or learnt from a random start."""

        knowledge: int = Field(6, ge=1)
        entity_width: int = Field(100, ge=1)
        entity_heads: int = Field(4, ge=1)
        vectors: Literal["frozen", "learnt"] = "frozen"

        @model_validator(mode="after")
        def _fusable(self) -> TwoChannel.Config:
            if self.join.kind != "post" or self.ffn.kind != "mlp" or self.share != "none":
                raise ValueError("two channels need join: post, ffn: mlp and share: none")
            if self.knowledge > self.layers or self.entity_width % self.entity_heads:
                raise ValueError(
                    f"knowledge: {self.knowledge} of {self.layers} layers; entity_width {self.entity_width} over "
                    f"{self.entity_heads} heads: expected at most all layers and a width that the heads divide"
                )
            return self

    config: Config

    def __init__(self, config: Config, facts: Facts):
        super().__init__()
        self.config, self.width = config, config.width
        text = Sizes(config.width, config.heads, config.width // config.heads, config.layers, config.dropout)
        self.embedding = build("layers.embeddings", config.embedding, facts, text)
        self.positions = build("layers.positions", config.positions, replace(text, embedded=self.embedding.width))
        self.blocks = make_blocks(config, text, cross=False)
        e, heads = config.entity_width, config.entity_heads
        sizes = Sizes(e, heads, e // heads, config.knowledge, config.dropout)
        hidden: int = self.blocks[0].ffn.up.out_features  # type: ignore[assignment, union-attr]
        self.knowledge = nn.ModuleList(Aggregator(config, sizes, hidden) for _ in range(config.knowledge))
        self.entity = nn.Embedding(facts.entities, e)
        self.pool = build("layers.pools", config.pool, text) if config.pool else None
        build("layers.inits", config.init, text)(self)
        if config.vectors == "frozen":
            self._freeze(facts)

    def _freeze(self, facts: Facts) -> None:
        self.entity.requires_grad_(False)
        if facts.vectors is not None:
            if facts.vectors.shape != tuple(self.entity.weight.shape):
                raise InputError(
                    f"backbone.entity_width: {self.config.entity_width}, but the store's vectors of entities are "
                    f"{facts.vectors.shape[1]} wide\n  next: --set backbone.entity_width={facts.vectors.shape[1]}"
                )
            with torch.no_grad():
                self.entity.weight.copy_(torch.tensor(facts.vectors))
        elif facts.names and facts.counts is not None:  # a text with entities, and nothing is known of them
            raise InputError(
                "backbone.vectors: the store has no vectors of entities\n  next: prepare the text with --vectors "
                "(a model of triples), or --set backbone.vectors=learnt"
            )

    @property
    def embed(self) -> nn.Module | None:
        """The token table."""
        return self.embedding.word

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        return [
            ("embedding", "positions", "entity"),
            *((f"blocks.{i}",) for i in range(len(self.blocks))),
            *((f"knowledge.{i}",) for i in range(len(self.knowledge))),
        ]

    def forward(
        self, batch: Batch, seen: Seen = EVERYTHING, *, keep: Collection[str] = (), cache: None = None
    ) -> Output:
        """States of every token. keep: `embedding`, `blocks.3`, `blocks.3.attention`, `knowledge.2` (of entities)."""
        kept = Keep(keep)
        at = self.embedding.places(batch, 0)
        x = kept("embedding", self.embedding(batch, self.positions, at))
        mask, causal = blend(seen, self.positions, x.shape[1], 0, device=x.device)
        turn = self.positions.turn(at)
        here = self._here(batch)
        entities = self.entity(torch.where(here, batch["entities"], 0)) if "entities" in batch else None
        others = self._among(seen, here)
        first = len(self.blocks) - len(self.knowledge)
        for i, block in enumerate(self.blocks):
            context = Context(f"blocks.{i}.attention", mask, causal, turn, kept)
            if i < first or entities is None:
                x = block(x, context)
            else:
                beside = Context(f"knowledge.{i - first}.attention", others, keep=kept)
                extra: Any = self.knowledge[i - first]
                x, entities = extra(block, x, entities * here[..., None], here[..., None], (context, beside))
                kept(f"knowledge.{i - first}", entities)
            x = kept(f"blocks.{i}", x)
        return Output(x, pooled=None if self.pool is None else self.pool(x, batch), kept=kept.found)

    def _here(self, batch: Batch) -> Bool[Tensor, "b t"]:
        """Where an entity stands."""
        if "entities" not in batch:
            return torch.zeros_like(batch["ids"], dtype=torch.bool)
        return (batch["entities"] >= 0) & batch["entity_starts"]

    def _among(self, seen: Seen, here: Bool[Tensor, "b t"]) -> Bool[Tensor, "b 1 t t"]:
        """Entities see the entities that their tokens may see."""
        b, t = here.shape
        own: Any = lambda b, h, q, k: here[b, k]  # noqa: E731
        if seen.causal:
            own = both(own, lambda b, h, q, k: k <= q)
        mask: Any = see(own, b, t, device=here.device).mask
        return mask if seen.mask is None else mask & seen.mask
