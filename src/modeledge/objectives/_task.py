"""What downstream tasks share: which vector stands for a row, who sees whom, what is trained.

A task reads `ids` b t, or b n t where a row holds several texts (the options of a choice, two texts to compare, a pair
in both orders); the backbone then sees b*n rows and the vectors come back as b n d.

Sources: BERT, arXiv:1810.04805 §3.2; GPT (2018) §3.3; BART, arXiv:1910.13461 §3.1-3.2; features of a frozen
model, ELMo, arXiv:1802.05365 §3.2-3.3."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge import core
from modeledge.core import PER_TOKEN, Batch, Facts, InputError, Output, PartConfig, RecipeError, Slot, Sum, build
from modeledge.layers import Sizes
from modeledge.objectives import Objective, Rule, own_document
from modeledge.visibility.causal import causal
from modeledge.visibility.full import full


class Vector(NamedTuple):
    """What a head needs to know of vectors that are not as wide as the backbone's states."""

    width: int


class BothSides(core.Config):
    """The encoder reads the text, and the decoder too. start: the role of the token before it there (BART: eos)."""

    start: str


class Task(Objective):
    """A question about rows that ends in an answer: adds `predict` to an objective."""

    class Config(Objective.Config):
        """pool: how a row becomes one vector (none: the backbone's own); sees: what a token sees, or on which sides of
        an encoder-decoder the text is read (else it is the encoder alone that is asked); train: the whole model, or the
        head alone on features of the backbone as it is; mix: how the layers' states become features (none: the last
        layer's); head: from vectors or states to scores; lang: the number of the language of the rows, for models
        that have a vector for each."""

        pool: Annotated[PartConfig | None, Slot("layers.pools")] = None
        sees: Literal["full", "causal"] | BothSides = "full"
        train: Literal["all", "head"] = "all"
        mix: Annotated[PartConfig | None, Slot("heads")] = None
        head: Annotated[PartConfig | None, Slot("heads")] = None
        lang: int | None = Field(None, ge=0)

    config: Any

    def __init__(self, config: Any, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        self.mix = build("heads", config.mix, facts, backbone) if config.mix else None
        width = backbone.width if self.mix is None else self.mix.width
        sizes = Sizes(width=width, heads=1, head_width=width)
        self.pool = build("layers.pools", config.pool, sizes) if config.pool else None
        outputs = self.outputs()
        width = width if self.pool is None else self.pool.width
        read = backbone if width == backbone.width else Vector(width)
        self.head = build("heads", config.head, facts, read, outputs=outputs) if config.head else None
        if config.train == "head":
            backbone.requires_grad_(False)

    def outputs(self) -> int:
        """How many scores the head gives."""
        return 1

    def names(self) -> list[str]:
        """The names of the classes. Raises InputError if the data has none."""
        found = self.facts.labels.get(self.config.on or "label") or self.facts.labels.get("label")
        if not found:
            raise InputError(
                f"objective {self.config.name or self.config.kind!r}: the data has no classes\n"
                "  next: say which column holds them: --column label=COLUMN"
            )
        return found

    def visible(self, batch: Batch) -> Rule:
        """Causal rows are padded at their end, which no real token sees, so they need no mask."""
        return causal if self.config.sees == "causal" else own_document(batch, full)

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        if self.config.lang is not None:
            batch = batch.but(lang=torch.full_like(batch.ids, self.config.lang))
        batch = one_text_a_row(batch)
        if isinstance(self.config.sees, BothSides):
            first = torch.full_like(batch.ids[:, :1], self.facts.special[self.config.sees.start])
            batch = batch.but(decoder_ids=torch.cat([first, batch.ids[:, :-1]], 1), decoder_lang=batch.get("lang"))
        if self.config.train == "all":
            return super().run(backbone, batch, **options)
        backbone.eval()  # no dropout and no moving statistics in what is only read
        if self.mix is not None:
            options["keep"] = {*options.get("keep", ()), *self.mix.reads}
        with torch.no_grad():
            return super().run(backbone, batch, **options)

    def states(self, out: Output, batch: Batch) -> Float[Tensor, "b t d"]:
        """The states the task reads."""
        return out.states if self.mix is None else self.mix(out, one_text_a_row(batch))  # type: ignore[return-value]

    def vector(self, out: Output, batch: Batch) -> Float[Tensor, "b d"] | Float[Tensor, "b n d"]:
        """One vector a text. Raises RecipeError if the backbone gives none and the task has no `pool`."""
        if self.pool is not None:
            found = self.pool(self.states(out, batch), one_text_a_row(batch))
        elif out.pooled is not None:
            found = out.pooled
        else:
            raise RecipeError(
                f"objective {self.losses[0]!r}: this backbone gives no single vector\n"
                "  next: give the objective a `pool`: first, last, mean or cls"
            )
        return found.unflatten(0, batch.ids.shape[:2]) if batch.ids.ndim == 3 else found

    def cost(self, out: Output, batch: Batch) -> Sum:
        """The task's loss."""
        raise NotImplementedError

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        found = self.cost(out, batch)
        if self.mix is not None:
            found = Sum(found.total + self.mix.penalty() * found.count, found.count)
        return {self.losses[0]: found}

    def predict(self, out: Output, batch: Batch) -> Tensor:
        """The answers of these rows as numbers, one row each."""
        raise NotImplementedError


def one_text_a_row(batch: Batch) -> Batch:
    """Rows of several texts as that many rows: b n t -> b*n t; other batches as they are."""
    if batch.ids.ndim == 2:
        return batch
    return Batch({k: v.flatten(0, 1) for k, v in batch.items() if k in PER_TOKEN})
