"""Two encoders that never meet, each of which ends in a vector of the same width: pictures and texts, or queries and
passages.

Sources: CLIP, arXiv:2103.00020 §2.3-2.4; two towers of text, DSSM (CIKM 2013) §3.2 and DPR, arXiv:2004.04906 §3.1.
The scale of their products belongs to the objective (contrast, match)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import nn

from modeledge.backbones._levels import Levels, abreast, within
from modeledge.core import Batch, Config, Facts, Output, Part, PartConfig, RecipeError, Slot, build
from modeledge.visibility import Seen

READS = {"image": "image", "text": "ids", "query": "query_ids", "passage": "ids"}
"""The field of the batch each tower reads; a tower whose field is absent is not run."""


class Towers(Config):
    """The two encoders, image and text or query and passage; each must give `pooled`. A `query` alone is one network
    that reads both."""

    image: Annotated[PartConfig | None, Slot("backbones")] = None
    text: Annotated[PartConfig | None, Slot("backbones")] = None
    query: Annotated[PartConfig | None, Slot("backbones")] = None
    passage: Annotated[PartConfig | None, Slot("backbones")] = None

    @model_validator(mode="after")
    def _pair(self) -> Towers:
        given = [name for name in READS if getattr(self, name) is not None]
        if given not in (["image", "text"], ["query", "passage"], ["query"]):
            raise ValueError(
                f"towers are image and text, query and passage, or query alone (it reads both); found {given}"
            )
        return self

    @model_serializer(mode="wrap")
    def _given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: tower for name, tower in write(self).items() if tower is not None}


class Dual(nn.Module, Part):
    """`towers` give one Output each, whose `pooled` is the projected vector (b width)."""

    class Config(PartConfig):
        """width: of the shared space (default: that of the towers, whose vectors are then not projected)."""

        towers: Towers
        width: int | None = Field(None, ge=1)

    def __init__(self, config: Dual.Config, facts: Facts):
        super().__init__()
        self.config = config
        given = {name: tower for name in READS if (tower := getattr(config.towers, name)) is not None}
        self.towers = nn.ModuleDict({name: build("backbones", tower, facts) for name, tower in given.items()})
        widths = [int(tower.width) for tower in self.towers.values()]  # type: ignore[arg-type]
        self.projections = nn.ModuleDict()
        if config.width is None and len(set(widths)) > 1:
            raise RecipeError(f"backbone.width: the towers are {widths} wide; give the width of a shared space")
        self.width = config.width or widths[0]
        for name, width in zip(self.towers, widths, strict=True):
            self.projections[name] = nn.Identity()
            if config.width is not None:
                self.projections[name] = nn.Linear(width, config.width, bias=False)
                nn.init.normal_(self.projections[name].weight, std=width**-0.5)  # type: ignore[arg-type]

    @property
    def embed(self) -> nn.Module | None:
        """The token table of the text tower, or of the one that reads queries."""
        return self.towers["text" if "text" in self.towers else "query"].embed  # type: ignore[return-value]

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        return abreast(*(within(f"towers.{name}", tower.levels()) for name, tower in self.towers.items()))  # type: ignore[operator]

    def forward(
        self, batch: Batch, seen: Mapping[str, Seen], *, keep: Collection[str] = (), cache: object | None = None
    ) -> Output:
        """Run the towers whose input the batch has; `seen` says who sees whom in each tower.

        `keep` asks by tower: `image.<name>`, `text.<name>`. Raises RecipeError if a tower does not pool."""
        towers: dict[str, Output] = {}
        for name in seen:
            if READS[name] not in batch:
                continue
            own = name if name in self.towers else "query"
            asked = {k.removeprefix(f"{name}.") for k in keep if k.startswith(f"{name}.")}
            out = self.towers[own](queries(batch) if name == "query" else batch, seen[name], keep=asked)
            if out.pooled is None:
                raise RecipeError(f"backbone.towers.{own}: it gives no single vector\n  next: give it a `pool`")
            out.pooled = self.projections[own](out.pooled)
            towers[name] = out
        kept = {f"{n}.{k}": v for n, out in towers.items() for k, v in out.kept.items()}
        return Output(towers=towers, kept=kept)


def queries(batch: Batch) -> Batch:
    """The texts in the fields `query_*` as a batch of their own."""
    return Batch({k.removeprefix("query_"): v for k, v in batch.items() if k.startswith("query_")})
