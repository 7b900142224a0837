"""The language model of ELMo: the next word from what came before it, and the word before from what follows.

Source: ELMo, arXiv:1802.05365 §3.1. The two directions share the input layer and the softmax and nothing else. What
stands at the edges (<s> and </s>) is up to the source: it is read, and predicted from the other side, like any word.
Rows of parallel streams may go on from the states at the end of the row before, as in the released code. A backward
model's words come from the right, so it needs rows of its own: with memory: both, and a source that reads each stream
from its other end too, it goes on from what follows. On the rows of the forward model it begins anew in each
(memory: state) and sees no further than their ends. The released code's second stream differs in one thing: there the
sentences of each are shuffled by themselves, so that what is carried is another sentence's; here it is the text."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch

from modeledge.core import IGNORE, Batch, Facts, Output, PartConfig, RecipeError, Slot, Sum, build, part
from modeledge.losses.cross_entropy import head_loss
from modeledge.objectives import token_baselines
from modeledge.objectives._carry import Carry


class BidirectionalLM(Carry):
    """Losses: one a direction. Count: neighbours that are both valid and of one document."""

    class Config(Carry.Config):
        """memory: also the states of both directions, where the source has rows for each; head: the softmax they
        share."""

        memory: Literal["none", "state", "both"] = "none"  # type: ignore[assignment]
        head: Annotated[PartConfig, Slot("heads")] = part("sampled_softmax")

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        name = config.name or config.kind
        self.losses = (f"{name}.forward", f"{name}.backward")
        if getattr(backbone, "one_way", None) is None or backbone.width != 2 * backbone.one_way.width:
            raise RecipeError(
                f"objective {name}: needs a backbone that reads in both directions\n"
                "  next: backbone.kind: lstm, backbone.directions: both"
            )
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone.one_way)

    def counts(self, batch: Batch) -> dict[str, float]:
        pairs = np.ones((len(batch.ids), batch.ids.shape[1] - 1), bool)
        if "valid" in batch:
            pairs = batch.valid[:, :-1] & batch.valid[:, 1:]
        return dict.fromkeys(self.losses, float(pairs.sum()))

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        ids = batch.ids
        behind = batch.get("behind_ids", ids)
        pairs = torch.ones_like(ids[:, 1:], dtype=torch.bool)
        if "valid" in batch:
            pairs = batch.valid[:, :-1] & batch.valid[:, 1:]
        before, after = out.states.chunk(2, -1)
        asked = ((before[:, :-1], ids[:, 1:]), (after[:, 1:], behind[:, :-1]))
        return {
            name: head_loss(self.head, states.flatten(0, 1), labels.where(pairs, IGNORE).flatten())
            for name, (states, labels) in zip(self.losses, asked, strict=True)
        }

    def baselines(self, facts: Facts) -> dict[str, float]:
        known = {"bigram": facts.bigram} if facts.bigram else {}  # of pairs, either way round
        return token_baselines(facts, facts.counts) | known
