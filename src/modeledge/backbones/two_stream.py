"""Two streams over one set of weights: a content stream that knows each token, a query stream that knows only where it
stands, so that any order of prediction can be trained.

Source: XLNet, arXiv:1906.08237 §2.3-2.5; memory and relative positions from Transformer-XL, arXiv:1901.02860. With an
identity order the content stream is Transformer-XL. After pre-training only the content stream is used."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Annotated, Any, NamedTuple, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from modeledge.backbones._levels import Levels
from modeledge.core import Batch, Facts, Output, Part, PartConfig, Slot, build, part
from modeledge.layers import Sizes
from modeledge.layers.attention import Keep
from modeledge.layers.attention._relative import Keys, RelativeAttention, distances, reverse
from modeledge.layers.dropout import Dropout
from modeledge.layers.embeddings import Table
from modeledge.visibility import Seen

EVERYTHING = Seen()


class Query(NamedTuple):
    """Places of the query stream in its row, and what they see of memory and row.

    A place may come several times; in rows that need fewer than others the rest is spare."""

    at: Int[Tensor, "b m"]
    seen: Seen


class Look(NamedTuple):
    """One stream's view of the keys: a name for its weights, who sees whom, which keys are of another segment, and the
    places of its queries in rows of `length` (None: all of them)."""

    name: str
    mask: Bool[Tensor, "#b #h m s"] | None
    other: Bool[Tensor, "b m s"] | None
    at: Int[Tensor, "b m"] | None
    length: int


class Layer(nn.Module):
    """Attention and feed-forward, each normalised after adding; run once a stream on the same keys."""

    def __init__(self, config: Any, sizes: Sizes, *, segments: bool = True):
        super().__init__()
        rate = config.attention_dropout
        self.attention = RelativeAttention(sizes.width, sizes.heads, dropout=rate, segments=segments)
        self.ffn = build("layers.ffn", config.ffn, sizes)
        norm = partial(build, "layers.norms", config.norm, sizes.width)
        self.join_attention = build("layers.joins", config.join, norm, dropout=config.dropout)
        self.join_ffn = build("layers.joins", config.join, norm, dropout=config.dropout)

    def forward(self, x: Float[Tensor, "b m d"], keys: Keys, look: Look, keep: Keep) -> Float[Tensor, "b m d"]:
        def read(x: Tensor) -> Tensor:
            out, weights = self.attention(x, keys, mask=look.mask, other=look.other, at=look.at, length=look.length)
            keep(look.name, weights)
            return out

        return self.join_ffn(self.join_attention(x, read), self.ffn)


class Settings(PartConfig):
    """What Transformers of relative distances have in common. width, layers, heads; clamp: distances beyond it count as
    it (none: no limit); std: of all first weights; attention_dropout: on the weights; dropout: on embeddings, distances
    and what branches add."""

    width: int = Field(1024, ge=2)
    layers: int = Field(24, ge=1)
    heads: int = Field(16, ge=1)
    ffn: Annotated[PartConfig, Slot("layers.ffn")] = part("mlp")
    norm: Annotated[PartConfig, Slot("layers.norms")] = part("layer")
    join: Annotated[PartConfig, Slot("layers.joins")] = part("post")
    clamp: int | None = Field(None, ge=1)
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    std: float = Field(0.02, gt=0)

    @model_validator(mode="after")
    def _divide(self) -> Self:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} must be even and divisible by {self.heads} heads")
        return self


class TwoStream(nn.Module, Part):
    """Named intermediates: `embedding`, `blocks.3` (content states), `blocks.3.attention`, `blocks.3.query`
    (weights)."""

    class Config(Settings):
        """pool: what makes one vector of a row."""

        norm: Annotated[PartConfig, Slot("layers.norms")] = part("layer", eps=1e-12)
        pool: Annotated[PartConfig | None, Slot("layers.pools")] = None

    def __init__(self, config: Config, facts: Facts):
        super().__init__()
        self.config, self.width = config, config.width
        head_width = config.width // config.heads
        sizes = Sizes(config.width, config.heads, head_width, layers=config.layers, dropout=config.dropout)
        self.embed = Table(facts.vocab, config.width)
        self.start = nn.Parameter(torch.empty(config.width))
        """What the query stream knows at first: the same vector everywhere."""
        self.blocks = nn.ModuleList(Layer(config, sizes) for _ in range(config.layers))
        self.dropout = Dropout(config.dropout)
        self.pool = build("layers.pools", config.pool, sizes) if config.pool else None
        draw(self, config.std)
        nn.init.normal_(self.start, std=config.std)

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        return [("embed", "start"), *((f"blocks.{i}",) for i in range(len(self.blocks)))]

    def forward(
        self,
        batch: Batch,
        seen: Seen = EVERYTHING,
        *,
        keep: Collection[str] = (),
        cache: None = None,
        query: Query | None = None,
        memory: Float[Tensor, "b n k d"] | None = None,
    ) -> Output:
        """Content states of every token and, with `query`, query states at its places (b m d). In a row that is read
        `backward` distances have the other sign: what stands before a token there follows it in the text.

        memory: what each layer read of the k tokens before the row; `seen` and `query.seen` begin with them. The
        output's `memory` is what each layer read of this row, with its gradient."""
        kept, (b, t) = Keep(keep), batch["ids"].shape
        past = 0 if memory is None else memory.shape[2]
        x = self.dropout(kept("embedding", self.embed(batch["ids"])))
        far = distances(self.width, t, past + t, clamp=self.config.clamp, like=x)
        turned = batch.get("backward")
        far = self.dropout(far if turned is None else torch.stack([far, reverse(far)]))
        content = Look("", dense(seen, t, past, x.device), self._other(batch, past), None, t)
        asked = content
        if query is not None:
            row = torch.arange(b, device=x.device)[:, None]
            other = None if content.other is None else content.other[row, query.at]
            asked = Look("", query.seen.mask, other, query.at, t)
        g = None if query is None else self.dropout(self.start.expand(b, query.at.shape[1], -1))
        read = []
        for i, block in enumerate(self.blocks):
            read.append(x)
            whole = x if memory is None else torch.cat([memory[:, i].to(x.dtype), x], dim=1)
            keys = block.attention.keys(whole, far)  # type: ignore[union-attr]
            if turned is not None:
                keys = keys._replace(r=keys.r[turned.long()])
            if g is not None:
                g = block(g, keys, asked._replace(name=f"blocks.{i}.query"), kept)
            x = kept(f"blocks.{i}", block(x, keys, content._replace(name=f"blocks.{i}.attention"), kept))
        x, g = self.dropout(x), None if g is None else self.dropout(g)
        pooled = None if self.pool is None else self.pool(x, batch)
        return Output(states=x, query_states=g, pooled=pooled, kept=kept.found, memory=read)

    @staticmethod
    def _other(batch: Batch, past: int) -> Tensor | None:
        """Whether query and key are of different segments: b t s; memory counts as segment 0."""
        if "segments" not in batch:
            return None
        segments = batch["segments"]
        return segments[:, :, None] != nn.functional.pad(segments, (past, 0))[:, None]


def draw(model: nn.Module, std: float) -> None:
    """First weights: one standard deviation for matrices, tables and the vectors of attention; biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, RelativeAttention):
            for vectors in module.vectors():
                nn.init.normal_(vectors, std=std)


def dense(seen: Seen, t: int, past: int, device: torch.device) -> Tensor | None:
    """The mask over memory and row, also where it was only a flag."""
    if not seen.causal:
        return seen.mask
    return torch.ones(t, past + t, dtype=torch.bool, device=device).tril(past)[None, None]
