"""The Transformer as a stack of slots: encoder or decoder is a matter of who may see whom, the rest of what is put in.

Sources: arXiv:1706.03762; what BERT, RoBERTa, ALBERT, ELECTRA, UniLM, GPT-2, ViT and CLIP's towers changed is in the
parts (layers/) and the recipes. Not here: encoder-decoders (encoder_decoder.py), two streams (two_stream.py)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from modeledge.backbones._block import make_blocks
from modeledge.backbones._levels import Levels
from modeledge.core import Batch, Facts, Output, Part, PartConfig, Slot, build, find, part
from modeledge.layers import Sizes
from modeledge.layers.attention import Across, Cache, Context, Keep, Packed
from modeledge.layers.dropout import Dropout
from modeledge.layers.positions import Positions
from modeledge.visibility import Near, Ruled, Seen

EVERYTHING = Seen()
SPARSE = 0.9
"""Share of real tokens below which padding is left out."""


class Transformer(nn.Module, Part):
    """Named intermediates: `embedding`, `blocks.3.attention` (weights b h t s), `blocks.3` (states after the block).

    flexible: FlexAttention reads whole rows whose rule is known, if every layer can (engine.flex says if it pays)."""

    flexible = False

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
                raise ValueError(
                    f"width {self.width} is not divisible by {self.heads} heads; change one, or set head_width"
                )
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
        placed = replace(sizes, embedded=self.embedding.width, grid=self.embedding.grid)
        self.positions = build("layers.positions", config.positions, placed)
        self.blocks = make_blocks(config, sizes, cross=cross)
        self.norm = find("layers.joins", config.join.kind).finish(
            lambda: build("layers.norms", config.norm, config.width)
        )
        self.dropout = Dropout(config.final_dropout)
        self.pool = build("layers.pools", config.pool, sizes) if config.pool else None
        build("layers.inits", config.init, sizes)(self)

    @property
    def embed(self) -> nn.Module | None:
        """The token table; None where the input is not tokens."""
        return self.embedding.word

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        return [("embedding", "positions"), *((f"blocks.{i}",) for i in range(len(self.blocks)))]

    def new_cache(self) -> Cache:
        """An empty memory for generation: pass it with each further piece of the rows."""
        return Cache()

    def forward(
        self, batch: Batch, seen: Seen = EVERYTHING, *, keep: Collection[str] = (), cache: Cache | None = None
    ) -> Output:
        """States of every token of the batch; with a cache, of the tokens that follow those it holds.

        keep: names of intermediates, `*` allowed, e.g. `blocks.*.attention`."""
        kept = Keep(keep)
        states = self.run(batch, seen, kept, cache)
        pooled = None if self.pool is None else self.pool(states, batch)
        return Output(states=states, pooled=pooled, kept=kept.found, cache=cache)

    def run(
        self, batch: Batch, seen: Seen, keep: Keep, cache: Cache | None = None, across: Across | None = None
    ) -> Float[Tensor, "b t d"]:
        """The last states. `across`: the encoder's states and who sees them, for blocks with cross-attention."""
        start = 0 if cache is None else cache.length
        at = self.embedding.places(batch, start)
        if "positions" not in batch:
            self.positions.check(start + at.shape[1])
        x = keep("embedding", self.embedding(batch, self.positions, at))
        told = at if "positions" in batch and cache is None else None
        alone = cache is None and across is None and not keep.wanted
        local = alone and isinstance(seen, Ruled) and self.local()
        flex = seen.flex if local and self.flexes() else None  # type: ignore[attr-defined]
        near = seen if local and flex is None and isinstance(seen, Near) else None
        shown = EVERYTHING if flex is not None or near is not None else seen
        mask, causal = blend(shown, self.positions, x.shape[1], start, device=x.device, at=told)
        turn = self.positions.turn(at)
        packed = self.pack(batch, x) if alone else None
        x = x if packed is None else packed.pack(x)
        made: dict[Any, Any] = {}
        for i, block in enumerate(self.blocks):
            own = Context(f"blocks.{i}.attention", mask, causal, turn, keep, cache, packed, near, flex, made)
            contexts: tuple[Context, ...] = (own,)
            if across is not None:
                contexts += (replace(across, name=f"blocks.{i}.cross", keep=keep, cache=cache),)
            x = keep(f"blocks.{i}", block(x, *contexts))
        if cache is not None:
            cache.length += x.shape[1]
        x = self.dropout(self.norm(x))
        return x if packed is None else packed.pad(x)

    def local(self) -> bool:
        """Whether a band can be read in blocks: every layer knows how, and positions add nothing to the scores."""
        unbiased = type(self.positions).bias is Positions.bias
        return unbiased and all(getattr(block.attention, "local", False) for block in self.blocks)

    def flexes(self) -> bool:
        """Whether FlexAttention computes: it is wanted, nothing compiles the whole, and no weights are dropped."""
        drops = self.training and any(getattr(block.attention, "dropout", 0.0) for block in self.blocks)
        return self.flexible and not drops and not torch.compiler.is_compiling()

    def pack(self, batch: Batch, x: Float[Tensor, "b t d"]) -> Packed | None:
        """The real tokens alone, where leaving padding out pays: on a CPU, from a tenth of the places on.

        (On a GPU the count would stop the queue of kernels, and matrix products do not mind the padding much.)"""
        valid = batch["valid"] if "valid" in batch else None
        if valid is None or valid.shape != x.shape[:2] or x.device.type != "cpu" or torch.compiler.is_compiling():
            return None
        return Packed(valid) if int(valid.sum()) < SPARSE * valid.numel() else None


def blend(
    seen: Seen, positions: Positions, t: int, start: int, *, device: torch.device, at: Tensor | None = None
) -> tuple[Tensor | None, bool]:
    """The mask and the causal flag for attention: who sees whom, and the positions' term of the scores, if any.

    at: the places of the tokens, where they do not stand in order (default: the indices themselves). The term comes in
    the precision of the scores, so that no layer casts it anew."""
    s = start + t
    index = torch.arange(s, device=device)
    bias = positions.bias(index[start:], index) if at is None else positions.bias(at, at)
    if bias is None:
        return seen.mask, seen.causal
    if torch.is_autocast_enabled(device.type):
        bias = bias.to(torch.get_autocast_dtype(device.type))
    allowed = index <= index[start:, None] if seen.causal else seen.mask
    return (bias if allowed is None else bias.masked_fill(~allowed, float("-inf"))), False
