"""Two encoders that never meet, each of which ends in a vector of the same width: pictures and texts, or queries and
passages; and, if wanted, a third network that reads what was found.

Sources: CLIP, arXiv:2103.00020 §2.3-2.4; two towers of text, DSSM (CIKM 2013) §3.2 and DPR, arXiv:2004.04906 §3.1;
readers, REALM, arXiv:2002.08909 §3.2, and RAG, arXiv:2005.11401 §2. The scale of the products belongs to the objective
(contrast, match), and so does what is read (realm, rag)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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

    added = ("reader",)
    """What two towers that were trained without it lack."""

    class Config(PartConfig):
        """width: of the shared space (default: that of the towers, whose vectors are then not projected); norm: of the
        vectors; reader: a network of texts, which passes that say who sees whom in one network go through."""

        towers: Towers
        width: int | None = Field(None, ge=1)
        norm: Annotated[PartConfig | None, Slot("layers.norms")] = None
        reader: Annotated[PartConfig | None, Slot("backbones")] = None

    def __init__(self, config: Dual.Config, facts: Facts):
        super().__init__()
        self.config = config
        given = {name: tower for name in READS if (tower := getattr(config.towers, name)) is not None}
        self.towers = nn.ModuleDict({name: build("backbones", tower, facts) for name, tower in given.items()})
        widths = [int(tower.width) for tower in self.towers.values()]  # type: ignore[arg-type]
        self.projections = nn.ModuleDict()
        if config.width is None and len(set(widths)) > 1:
            raise RecipeError(f"backbone.width: the towers are {widths} wide; give the width of a shared space")
        self.width = shared = config.width or widths[0]
        self.norms = nn.ModuleDict()
        for name, width in zip(self.towers, widths, strict=True):
            self.projections[name] = nn.Identity()
            if config.width is not None:
                self.projections[name] = nn.Linear(width, config.width, bias=False)
                nn.init.normal_(self.projections[name].weight, std=width**-0.5)  # type: ignore[arg-type]
            self.norms[name] = build("layers.norms", config.norm, shared) if config.norm else nn.Identity()
        self.reader: Any = build("backbones", config.reader, facts) if config.reader else None
        if self.reader is not None:  # a head on top is one on the reader
            self.width = self.reader.width

    @property
    def embed(self) -> nn.Module | None:
        """The token table of the reader, else of the text tower, or of the one that reads queries."""
        if self.reader is not None:
            return self.reader.embed
        return self.towers["text" if "text" in self.towers else "query"].embed  # type: ignore[return-value]

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        towers = abreast(*(within(f"towers.{name}", tower.levels()) for name, tower in self.towers.items()))  # type: ignore[operator]
        return towers if self.reader is None else [*towers, *within("reader", self.reader.levels())]  # type: ignore[operator]

    def side(self, name: str) -> tuple[nn.Module, nn.Module, nn.Module]:
        """What makes the vectors of `name`: tower, projection, norm (see `encode`)."""
        own = name if name in self.towers else "query"
        return self.towers[own], self.projections[own], self.norms[own]

    def forward(
        self, batch: Batch, seen: Mapping[str, Seen] | Seen, *, keep: Collection[str] = (), cache: Any = None
    ) -> Output:
        """Run the towers whose input the batch has; `seen` says who sees whom in each tower, or in the reader alone.

        `keep` asks by tower: `image.<name>`, `text.<name>`. Raises RecipeError if a tower does not pool."""
        if not isinstance(seen, Mapping):
            assert self.reader is not None, "backbone.reader: there is none"
            return self.reader(batch, seen, keep=keep, cache=cache)
        towers: dict[str, Output] = {}
        for name in seen:
            if READS[name] not in batch:
                continue
            asked = {k.removeprefix(f"{name}.") for k in keep if k.startswith(f"{name}.")}
            rows = queries(batch) if name == "query" else batch
            towers[name] = encode(self.side(name), rows, seen[name], keep=asked, name=name)
        kept = {f"{n}.{k}": v for n, out in towers.items() for k, v in out.kept.items()}
        return Output(towers=towers, kept=kept)


def encode(
    side: Sequence[nn.Module], batch: Batch, seen: Seen, *, keep: Collection[str] = (), name: str = "passage"
) -> Output:
    """Run one side of a Dual (its tower, projection and norm): `pooled` is the vector of each row.

    Raises RecipeError if the tower does not pool."""
    tower, projection, norm = side
    out = tower(batch, seen, keep=keep)
    if out.pooled is None:
        raise RecipeError(f"backbone.towers.{name}: it gives no single vector\n  next: give it a `pool`")
    out.pooled = norm(projection(out.pooled))
    return out


def queries(batch: Batch) -> Batch:
    """The texts in the fields `query_*` as a batch of their own."""
    return Batch({k.removeprefix("query_"): v for k, v in batch.items() if k.startswith("query_")})
