"""Two encoders that never meet: one reads pictures, one reads text, and each ends in a vector of the same width.

Source: CLIP, arXiv:2103.00020 §2.3-2.4. The scale of their products belongs to the objective (contrast)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import Field
from torch import nn

from modeledge.core import Batch, Config, Facts, Output, Part, PartConfig, RecipeError, Slot, build
from modeledge.visibility import Seen

READS = {"image": "image", "text": "ids"}
"""The field of the batch each tower reads; a tower whose field is absent is not run."""


class Towers(Config):
    """The two encoders; each must give `pooled`."""

    image: Annotated[PartConfig, Slot("backbones")]
    text: Annotated[PartConfig, Slot("backbones")]


class Dual(nn.Module, Part):
    """`towers` give one Output each, whose `pooled` is the projected vector (b width)."""

    class Config(PartConfig):
        """width: of the shared space."""

        towers: Towers
        width: int = Field(512, ge=1)

    def __init__(self, config: Dual.Config, facts: Facts):
        super().__init__()
        self.config = config
        self.width = config.width
        self.towers = nn.ModuleDict({name: build("backbones", getattr(config.towers, name), facts) for name in READS})
        self.projections = nn.ModuleDict()
        for name, tower in self.towers.items():
            self.projections[name] = nn.Linear(tower.width, config.width, bias=False)  # type: ignore[arg-type]
            nn.init.normal_(self.projections[name].weight, std=tower.width**-0.5)  # type: ignore[arg-type, operator]

    @property
    def embed(self) -> nn.Module | None:
        """The token table of the text tower."""
        return self.towers["text"].embed  # type: ignore[return-value]

    def forward(
        self, batch: Batch, seen: Mapping[str, Seen], *, keep: Collection[str] = (), cache: object | None = None
    ) -> Output:
        """Run the towers whose input the batch has; `seen` says who sees whom in each tower.

        `keep` asks by tower: `image.<name>`, `text.<name>`. Raises RecipeError if a tower does not pool."""
        towers: dict[str, Output] = {}
        for name, tower in self.towers.items():
            if READS[name] not in batch:
                continue
            asked = {k.removeprefix(f"{name}.") for k in keep if k.startswith(f"{name}.")}
            out = tower(batch, seen[name], keep=asked)
            if out.pooled is None:
                raise RecipeError(f"backbone.towers.{name}: it gives no single vector\n  next: give it a `pool`")
            out.pooled = self.projections[name](out.pooled)
            towers[name] = out
        kept = {f"{n}.{k}": v for n, out in towers.items() for k, v in out.kept.items()}
        return Output(towers=towers, kept=kept)
