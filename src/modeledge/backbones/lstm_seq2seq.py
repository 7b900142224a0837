"""An LSTM that reads and an LSTM that writes while it looks back at what was read.

Sources: attention (global, bilinear scores, tanh over context and state), Luong et al., arXiv:1508.04025 §3.1; an
encoder in both directions, CoVe, arXiv:1708.00107 §3; attention to the first and the last layer and a way from the
decoder's first layer to the softmax, Ramachandran et al., arXiv:1611.02683 §2.2. The decoder begins from zeros: all it
knows of the source it is told by attention. Not here: feeding what was attended to into the next step."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.backbones._dropout import Variational
from modeledge.backbones._levels import Levels, chained, within
from modeledge.backbones.lstm import LSTM, OneWay
from modeledge.core import Batch, Facts, Output, Part, PartConfig, RecipeError, find
from modeledge.visibility import Seen


@dataclass
class Progress:
    """One generation's memory: the layers attended to and their padding, and what the decoder remembers."""

    layers: list[Tensor] | None = None
    valid: Tensor | None = None
    memory: list[Tensor] | None = None
    length: int = 0

    def reorder(self, rows: Tensor) -> None:
        """Keep these rows in this order, as beam search asks; a row may come several times."""
        self.layers, self.memory = (None if m is None else [x[rows] for x in m] for m in (self.layers, self.memory))
        self.valid = None if self.valid is None else self.valid[rows]


class Seq2SeqLSTM(nn.Module, Part):
    """Named intermediates are the encoder's: `embedding` and `blocks.0`, ... (b s width; the embedding as wide as the
    tables). Without decoder ids `states` are the encoder's last ones, so that tasks may read them."""

    class Config(PartConfig):
        """width: of the states of either side, all directions of the encoder together; input: of the token tables
        (default: the width); layers: of either side; directions: the encoder's; attends: which of its layers are
        attended to, the last or the first and the last; residual: whether the decoder's first layer is added to what
        the softmax reads; tables: one token table for both sides or one a side; dropout: see the kind `lstm`."""

        width: int = Field(512, ge=2)
        input: int | None = Field(None, ge=1)
        layers: int = Field(2, ge=1)
        directions: Literal["forward", "joined"] = "forward"
        attends: Literal["last", "ends"] = "last"
        residual: Literal["none", "first"] = "none"
        tables: Literal["shared", "own"] = "shared"
        dropout: Annotated[float, Field(ge=0, lt=1)] | Variational = 0.0

    decodes = True
    """It writes: what follows `decoder_ids`, reading `ids`."""

    def __init__(self, config: Config, facts: Facts):
        super().__init__()
        self.config, self.width = config, config.width
        ways = 2 if config.directions == "joined" else 1
        if config.width % ways:
            raise RecipeError(f"backbone.width: {config.width} cannot be shared by two directions; take an even number")
        self.encoder = stack(config, facts, width=config.width // ways, directions=config.directions)
        self.decoder = stack(config, facts, width=config.width, directions="forward")
        if config.tables == "shared":
            self.decoder.embedding.word = self.encoder.embedding.word
        last = f"blocks.{config.layers - 1}"
        self.attends = dict.fromkeys(["blocks.0", last] if config.attends == "ends" else [last])
        self.queries = nn.ModuleList(nn.Linear(config.width, config.width, bias=False) for _ in self.attends)
        self.join = nn.Linear((1 + len(self.attends)) * config.width, config.width, bias=False)

    @property
    def embed(self) -> nn.Module | None:
        """The decoder's token table."""
        return self.decoder.embed

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        return chained(within("encoder", self.encoder.levels()), within("decoder", self.decoder.levels()))

    def side(self, name: Literal["encoder", "decoder"]) -> OneWay:
        """What a softmax over the first layer of a side needs to know. Raises RecipeError if it reads both ways."""
        part: LSTM = getattr(self, name)
        if len(part.stacks) > 1:
            raise RecipeError("a language model reads in one direction; use backbone.directions: forward")
        return OneWay(part.config.width, part.embed)

    def new_cache(self) -> Progress:
        """An empty memory for generation."""
        return Progress()

    def forward(
        self,
        batch: Batch,
        seen: Seen | None = None,
        *,
        keep: Collection[str] = (),
        cache: Progress | None = None,
        alone: Literal["encoder", "decoder"] | None = None,
    ) -> Output:
        """Read `batch.ids`, write `batch.decoder_ids`; the directions say who sees whom, not `seen`.

        With a cache the decoder ids are those that follow the cached ones, and the encoder runs at the first call.
        alone: only the first layer of that side reads `batch.ids`, as if there were nothing else: a language model."""
        if alone is not None:
            part: LSTM = getattr(self, alone)
            return Output(part.drops[-1](part(batch, keep={"blocks.0"}).kept["blocks.0"]))
        if cache is not None and cache.layers is not None:
            return Output(self.write(batch, cache), cache=cache)
        read = self.encoder(batch, keep={*keep, *self.attends})
        kept = {name: read.kept[name] for name in keep}
        if "embedding" in kept:
            kept["embedding"] = kept["embedding"][..., : self.encoder.embedding.width]  # not once a direction
        if "decoder_ids" not in batch:
            return Output(read.states, encoder_states=read.states, kept=kept)
        cache = Progress() if cache is None else cache
        cache.layers, cache.valid = [read.kept[name] for name in self.attends], batch.get("valid")
        return Output(self.write(batch, cache), encoder_states=read.states, kept=kept, cache=cache)

    def write(self, batch: Batch, cache: Progress) -> Float[Tensor, "b u d"]:
        """The states of the decoder at its ids, which follow those the cache remembers."""
        written = self.decoder(Batch(ids=batch.decoder_ids), keep={"blocks.0"}, memory=cache.memory)
        cache.memory, cache.length = written.memory, cache.length + batch.decoder_ids.shape[1]
        states = self.attend(written.states, cache.layers or [], cache.valid)
        if self.config.residual == "first":
            states = states + self.decoder.drops[-1](written.kept["blocks.0"])
        return states

    def attend(
        self, x: Float[Tensor, "b u d"], layers: list[Float[Tensor, "b s d"]], valid: Bool[Tensor, "b s"] | None
    ) -> Float[Tensor, "b u d"]:
        """Each decoder state with what it finds in the layers of the encoder."""
        found = [x]
        for query, layer in zip(self.queries, layers, strict=True):
            scores = query(x) @ layer.mT  # b u s
            if valid is not None:
                scores = scores.masked_fill(~valid[:, None], -torch.inf)
            found.append(scores.softmax(-1) @ layer)
        return self.join(torch.cat(found, -1)).tanh()


def stack(config: Seq2SeqLSTM.Config, facts: Facts, *, width: int, directions: str) -> LSTM:
    """One side."""
    part = find("backbones", "lstm")
    rates = config.dropout.model_dump() if isinstance(config.dropout, Variational) else config.dropout
    settings = {"kind": "lstm", "width": width, "input": config.input or config.width, "layers": config.layers}
    settings |= {"directions": directions, "skip": "none", "dropout": rates, "embedding": {"kind": "tokens"}}
    return part(part.Config.model_validate(settings), facts)
