"""Stacks of LSTM layers over one input: one reads forwards, the other, if there is one, backwards.

Sources: ELMo, arXiv:1802.05365 §3.1 and its released training code (projection, bounds, each layer above the first
adds its input); AWD-LSTM, arXiv:1708.02182 §2 and §4 (what is left out). The stacks share nothing but the embedding; a
place's forward state knows nothing of what follows, its backward state nothing of what came before. Where the
directions are joined (Schuster and Paliwal, 1997) each layer reads both of those below, and every state knows all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from modeledge.backbones._dropout import RowDropout, Variational
from modeledge.backbones._levels import Levels
from modeledge.backbones._recurrence import Recurrence
from modeledge.core import Batch, Facts, Output, Part, PartConfig, RecipeError, Slot, build, find, part
from modeledge.layers import Sizes
from modeledge.layers.attention import Keep
from modeledge.layers.dropout import Dropout
from modeledge.visibility import Seen


class OneWay(NamedTuple):
    """What a head needs to know of one direction: the width of its states and the token table, if there is one."""

    width: int
    embed: nn.Module | None


class LSTM(nn.Module, Part):
    """Named intermediates, all `width` wide: `embedding` (the input, repeated for each direction) and `blocks.1`, the
    states after a layer; of two directions the forward half stands first.

    `memory` is what the stacks go on from, one tensor b `memory_width` a layer, and `Output.memory` what they end with.
    The backward stack begins anew in each row: what it would go on from has not been read yet. Only where it reads rows
    of its own (`behind_ids` b t, each of which stands before the last one) does it go on too, its layers after the
    forward ones; the halves of the states then belong to different rows."""

    class Config(PartConfig):
        """width: of one direction's states; inner: of the states below the last layer (default: the same); input:
        of the embedded words (default: the same); cell: of the cells (default: as wide as the states, without a
        projection); directions: one stack, two apart, or two of which each layer reads both below; clip: bound on cells
        and projections (0: none); skip: what layers above the first add to their output; dropout: on the input of every
        layer and on the last states, one rate for all or, with a mask a row, a rate for each place."""

        width: int = Field(512, ge=1)
        inner: int | None = Field(None, ge=1)
        input: int | None = Field(None, ge=1)
        cell: int | None = Field(None, ge=1)
        layers: int = Field(2, ge=1)
        directions: Literal["forward", "both", "joined"] = "both"
        clip: float = Field(0.0, ge=0)
        skip: Literal["input", "none"] = "input"
        dropout: Annotated[float, Field(ge=0, lt=1)] | Variational = 0.0
        embedding: Annotated[PartConfig, Slot("layers.embeddings")] = part("chars")

    def __init__(self, config: Config, facts: Facts):
        super().__init__()
        ways = 1 if config.directions == "forward" else 2
        self.joined = config.directions == "joined"
        self.config, self.width = config, config.width * ways
        embedded = config.input or config.width
        sizes = Sizes(width=embedded, heads=1, head_width=embedded, layers=config.layers, dropout=0.0)
        self.embedding = build("layers.embeddings", config.embedding, facts, sizes)
        if self.embed is not None:
            # as in AWD-LSTM's released code; a tied softmax then starts even
            nn.init.uniform_(self.embed.weight, -0.1, 0.1)  # type: ignore[arg-type]
        none = find("layers.positions", "none")
        self.positions = none(none.Config(kind="none"), sizes)  # the order is told by reading
        outs = [config.inner or config.width] * (config.layers - 1) + [config.width]
        if config.skip == "input" and (len(set(outs)) > 1 or self.joined):
            raise RecipeError(
                "backbone.skip: input: layers of different widths or joined directions cannot be added; use skip: none"
            )
        rates = config.dropout
        weights = rates.weights if isinstance(rates, Variational) else 0.0
        self.stacks = nn.ModuleList(
            nn.ModuleList(
                Recurrence(width, cell=config.cell or out, out=out, clip=config.clip, drop=weights)
                for width, out in zip([embedded, *(o * (1 + self.joined) for o in outs)], outs, strict=False)
            )
            for _ in range(ways)
        )
        if isinstance(rates, Variational):
            between = (rates.between for _ in outs[1:])
            self.drops = nn.ModuleList(RowDropout(rate) for rate in (rates.input, *between, rates.output))
        else:
            self.drops = nn.ModuleList(Dropout(rates) for _ in range(config.layers + 1))

    @property
    def embed(self) -> nn.Module | None:
        """The token table; None where words are read by their characters."""
        return self.embedding.word

    @property
    def memory_width(self) -> int:
        """Of what a layer remembers, its output and its cell: of the widest."""
        return max(layer.out + layer.cell for layer in self.stacks[0])  # type: ignore[union-attr, operator]

    @property
    def one_way(self) -> OneWay | None:
        """A direction by itself, for heads that serve both; None where they are joined."""
        return None if self.joined else OneWay(self.config.width, self.embed)

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        return [
            ("embedding",),
            *(tuple(f"stacks.{way}.{i}" for way in range(len(self.stacks))) for i in range(self.config.layers)),
        ]

    def forward(
        self,
        batch: Batch,
        seen: Seen | None = None,
        *,
        keep: Collection[str] = (),
        cache: object | None = None,
        memory: Sequence[Float[Tensor, "b m"]] | None = None,
    ) -> Output:
        """States of every place (b t width); zeros at padding. The directions say who sees whom, not `seen`."""
        behind = "behind_ids" in batch and len(self.stacks) == 2 and not self.joined
        shown = batch.but(ids=torch.cat([batch.ids, batch.behind_ids])) if behind else batch
        x = self.embedding(shown, self.positions, self.embedding.places(batch, 0))
        x, other = x.chunk(2) if behind else (x, x)
        valid = batch["valid"] if "valid" in batch else None
        back = None if valid is None else mirror(valid)
        ends = None
        if self.joined:
            layers = self.read_joined(x, back)
        else:
            states, ends = self.read(self.stacks[0], x, memory)  # type: ignore[arg-type]
            layers = [x, *states]
        if len(self.stacks) == 2 and not self.joined:
            held = memory[self.config.layers :] if memory else None
            states, far = self.read(self.stacks[1], turn(other, back), held or None)  # type: ignore[arg-type]
            layers = [
                torch.cat([y, turn(z, back)], -1) for y, z in zip(layers, [turn(other, back), *states], strict=True)
            ]
            ends = [*ends, *far] if behind else ends  # type: ignore[misc]
        if valid is not None:
            layers = [y * valid[..., None] for y in layers]
        kept = Keep(keep)
        for name, y in zip(("embedding", *(f"blocks.{i}" for i in range(self.config.layers))), layers, strict=True):
            kept(name, y)
        return Output(self.drops[-1](layers[-1]), kept=kept.found, memory=ends)

    def read(
        self, stack: Iterable[Recurrence], x: Float[Tensor, "b t d"], memory: Sequence[Tensor] | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The states after each layer of a stack, and what each layer remembers at the end (b memory_width)."""
        states, ends = [], []
        for i, layer in enumerate(stack):
            x = self.drops[i](x)
            held = None if memory is None else memory[i][:, : layer.out + layer.cell].split([layer.out, layer.cell], -1)
            y, end = layer(x, held)
            x = y + x if i and self.config.skip == "input" else y
            states.append(x)
            ends.append(F.pad(torch.cat(end, -1), (0, self.memory_width - layer.out - layer.cell)))
        return states, ends

    def read_joined(self, x: Float[Tensor, "b t d"], back: Int[Tensor, "b t"] | None) -> list[Tensor]:
        """The input, once a direction, and the states after each layer, of which the forward half stands first."""
        layers = [torch.cat([x, x], -1)]
        for i, (ahead, behind) in enumerate(zip(*self.stacks, strict=True)):  # type: ignore[arg-type]
            x = self.drops[i](x)
            x = torch.cat([ahead(x)[0], turn(behind(turn(x, back))[0], back)], -1)
            layers.append(x)
        return layers


def mirror(valid: Tensor) -> Int[Tensor, "b t"]:
    """For each place the place it has when the row's valid tokens are read backwards; padding stays where it is."""
    place = torch.arange(valid.shape[1], device=valid.device)
    last = valid.sum(1, keepdim=True) - 1
    return torch.where(place <= last, last - place, place)


def turn(x: Float[Tensor, "b t d"], back: Int[Tensor, "b t"] | None) -> Float[Tensor, "b t d"]:
    """The row backwards, and backwards again."""
    return x.flip(1) if back is None else x.take_along_dim(back[..., None], 1)
