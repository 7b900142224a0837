"""Causal language modelling over rows that follow each other: a token also sees what is remembered of the row before.

Source: Transformer-XL, arXiv:1901.02860 §3.2. No gradient flows into the memory. The last token of a row has no label:
what follows it stands in the next row. Not here: writing with such a model."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field
from torch import nn

from modeledge.core import Batch, Facts, Output, RecipeError
from modeledge.objectives._memory import Remembering, remembers
from modeledge.objectives.clm import CausalLM
from modeledge.visibility import both, see
from modeledge.visibility.memory import after_memory, memory


class MemoryLM(Remembering, CausalLM):
    """Needs a backbone that takes a memory (transformer_xl, two_stream), and rows of parallel streams."""

    class Config(CausalLM.Config):
        """memory: how many tokens a row remembers; reach: a token sees all of memory and row before it, or (same) as
        many tokens as the memory holds, wherever in the row it stands."""

        memory: int = Field(128, ge=0)
        reach: Literal["all", "same"] = "all"

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        if getattr(backbone.config, "kind", "") not in ("transformer_xl", "two_stream"):
            raise RecipeError(
                f"objective {config.name or config.kind}: needs a backbone with memory, found"
                f" {getattr(backbone.config, 'kind', '')!r}\n  next: backbone.kind=transformer_xl, or the objective clm"
            )
        super().__init__(config, facts, backbone)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        if self.config.memory and "fresh" not in batch:
            raise RecipeError(f"objective {self.losses[0]}: memory needs rows that follow each other; use data: stream")
        return super().view(batch, rng).but(place=np.arange(batch.size))

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        before = self._before(batch)
        if before is None:
            return super().run(backbone, batch, **options)
        (b, t), past = batch.ids.shape, self.config.memory
        rule = both(after_memory(past, self.visible(batch)), remembers(batch, before, past))
        if self.config.reach == "same":
            rule = both(rule, memory(past, reach=past))
        seen = see(rule, b, t, past + t, device=batch.ids.device)
        return backbone(batch, seen, memory=before.states, **options)
