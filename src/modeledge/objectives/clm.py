"""Causal language modelling: every token from those before it.

Source: GPT-2. Rows are cut from one stream of documents with an end token after each; a token may look into the
document before its own unless the source keeps them apart (`isolate: true`, which emits `doc`). Not here: generation
(run)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Output, PartConfig, Slot, Sum, build, part
from modeledge.losses.cross_entropy import count_right, head_loss
from modeledge.objectives import Objective, Rule, own_document, token_baselines
from modeledge.views.arrange.shift import next_tokens
from modeledge.visibility.causal import causal


class CausalLM(Objective):
    """Predict the next token at every place; the scores of all places are never held at once."""

    class Config(Objective.Config):
        """head: from states to token scores."""

        head: Annotated[PartConfig, Slot("heads")] = part("token", transform="none", bias=False)

    config: Config
    all_tokens = True

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        return batch.but(labels=next_tokens(batch.ids, valid=batch.get("valid"), doc=batch.get("doc")))

    def visible(self, batch: Batch) -> Rule:
        return own_document(batch, causal)

    def finish(self, batch: Batch) -> Batch:
        return batch  # nearly every place is a target: nothing to gather

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        states: Tensor = out.states  # type: ignore[assignment]
        return {self.losses[0]: head_loss(self.head, states.flatten(0, 1), batch.labels.flatten())}

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        states: Tensor = out.states  # type: ignore[assignment]
        right = count_right(states.flatten(0, 1), batch.labels.flatten(), self.head)
        return {"accuracy": Sum(right, (batch.labels >= 0).sum())}

    def baselines(self, facts: Facts) -> dict[str, float]:
        return token_baselines(facts, facts.counts) | ({"bigram": facts.bigram} if facts.bigram else {})

    @torch.no_grad()
    def score(self, backbone: nn.Module, batch: Batch) -> Float[Tensor, "b t"]:
        """log p of each token given those before it; 0 for the first, padding and a document's first token.

        The sum over a continuation's places is its log-probability after the prompt (zero-shot choice)."""
        states: Tensor = self.run(backbone, batch).states  # type: ignore[assignment]
        picked = []
        for row, labels in zip(states, batch.labels, strict=True):  # one row's scores at a time
            chosen = self.head(row).float().log_softmax(-1).gather(-1, labels.clamp(min=0)[:, None])
            picked.append(chosen[:, 0] * (labels >= 0))
        return nn.functional.pad(torch.stack(picked)[:, :-1], (1, 0))
