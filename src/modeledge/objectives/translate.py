"""A relation is a translation: the vector of the tail lies near that of the head plus the relation's own.

Sources: TransE, Bordes et al., NIPS 2013 (entities are rows of a table, on the unit sphere); KEPLER, arXiv:1911.06136
§3.2 (entities are texts, encoded by a language model). Not here: ranks of all entities (analysis/links.py)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Output, PartConfig, RecipeError, Slot, Sum, build
from modeledge.layers import Sizes
from modeledge.losses.ranking import logistic_ranking, margin_ranking
from modeledge.objectives import Objective
from modeledge.objectives._task import one_text_a_row

LOSSES = {"margin": margin_ranking, "logistic": logistic_ranking}


class Translate(Objective):
    """Rank true triples before corrupted ones by |head + relation - tail|."""

    needs = ("ids", "relation", "side")

    class Config(Objective.Config):
        """margin: by how much, or around which distance; norm: sum of absolute differences (1) or Euclidean (2); loss:
        as in losses/ranking.py; space: entities stay on the unit sphere and relations start there (TransE), or both
        are free and relations start within (margin + 2) / width of 0 (KEPLER); pool: what makes one vector of an
        entity's text (none: the states are the entities)."""

        margin: float = Field(1.0, gt=0)
        norm: Literal[1, 2] = 1
        loss: Literal["margin", "logistic"] = "margin"
        space: Literal["unit", "free"] = "unit"
        pool: Annotated[PartConfig | None, Slot("layers.pools")] = None

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        if facts.relations < 1:
            raise RecipeError(
                f"objective {self.losses[0]}: the data has no relations\n"
                "  next: give it triples: modeledge prepare FILE --kind triples"
            )
        width = backbone.width
        self.pool = build("layers.pools", config.pool, Sizes(width, 1, width)) if config.pool else None
        self.relations = nn.Embedding(facts.relations, width)
        self._table: tuple[Any, ...] = (backbone.embed,) if config.space == "unit" else ()
        reach = 6 / width**0.5 if config.space == "unit" else (config.margin + 2) / width
        nn.init.uniform_(self.relations.weight, -reach, reach)
        self._onto_sphere(self.relations, *self._table)

    @torch.no_grad()
    def _onto_sphere(self, *tables: Any) -> None:
        for table in tables if self.config.space == "unit" else ():
            table.weight.div_(table.weight.norm(dim=1, keepdim=True).clamp_min(1e-12))

    def after_step(self, step: int) -> None:
        """Entities go back to length 1 (relations do not)."""
        self._onto_sphere(*self._table)

    def counts(self, batch: Batch) -> dict[str, float]:
        each = 1 if self.config.loss == "logistic" else batch.side.shape[1]
        return {self.losses[0]: float(len(batch.side) * each)}

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        return super().run(backbone, one_text_a_row(batch), **options)

    def vectors(self, out: Output, batch: Batch) -> Float[Tensor, "b n d"]:
        """The vector of each entity of each row."""
        states: Any = out.states
        if self.pool is None:
            return states
        return self.pool(states, one_text_a_row(batch)).unflatten(0, batch.ids.shape[:2])

    def distances(self, out: Output, batch: Batch) -> tuple[Float[Tensor, " b"], Float[Tensor, "b n"]]:
        """Of the true triples, and of the corrupted ones of each."""
        found = self.vectors(out, batch).float()
        head, tail, other = found[:, :1], found[:, 1:2], found[:, 2:]
        relation, at_head = self.relations(batch.relation)[:, None].float(), (batch.side == 0)[..., None]
        gap = torch.where(at_head, other, head) + relation - torch.where(at_head, tail, other)
        true = head + relation - tail
        return true.norm(p=self.config.norm, dim=-1)[:, 0], gap.norm(p=self.config.norm, dim=-1)

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        true, false = self.distances(out, batch)
        return {self.losses[0]: LOSSES[self.config.loss](true, false, margin=self.config.margin)}

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        """accuracy: corrupted triples that lie farther than their true one."""
        true, false = self.distances(out, batch)
        right = true[:, None] < false
        return {"accuracy": Sum(right.sum(), torch.full((), right.numel(), device=right.device))}
