"""Masked and permuted language modelling: predicted in a random order, knowing how long the sentence is.

Source: MPNet, arXiv:2004.09297 §2, and its released code: whole words are predicted; a mask stands at every predicted
place and another copy of it asks; 80 % of the copies are [MASK], 10 % noise, 10 % the token. Both streams stand in
one row, which works because queries and content share all weights and nobody reads a query. Not here: an order without
masks (plm.py)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from torch import nn

from modeledge.core import IGNORE, Batch, Facts, Output, PartConfig, Slot, Sum, build, part
from modeledge.losses.cross_entropy import accuracy, head_loss
from modeledge.objectives import Objective, Rule, own_document, pick, token_baselines
from modeledge.objectives._shares import Shares
from modeledge.views.corrupt.mask import choose_words, random_order, replace, word_ids
from modeledge.visibility.compensated import MASK, QUERY, TOKEN, Mode, compensated


class MaskedPermutation(Objective):
    """Needs positions that are told by the batch: any backbone but one with memory or recurrence."""

    needs = ("ids", "word_starts")

    class Config(Objective.Config):
        """rate: share of ordinary tokens to predict, in whole words; replace: shares of [MASK] and of random tokens
        among the copies; mode: what a prediction sees besides the context: earlier predictions, and masks in place of
        the later ones (mpnet), masks alone (mlm), earlier predictions alone (plm); head: from states to scores."""

        rate: float = Field(0.15, gt=0, lt=1)
        replace: Shares = (0.8, 0.1)
        mode: Mode = "mpnet"
        head: Annotated[PartConfig, Slot("heads")] = part("token")

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone)
        self.is_special = facts.is_special()

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        ids = batch.ids
        valid = batch.valid if "valid" in batch else np.ones(ids.shape, bool)
        maskable = valid & ~(batch.special if "special" in batch else self.is_special[ids])
        chosen = choose_words(maskable, word_ids(batch.word_starts), rng, rate=self.config.rate)
        known = {"mask": self.role("mask"), "words": self.facts.words, "shares": self.config.replace}
        hidden, labels = replace(ids, chosen, rng, **known)
        count = chosen.sum(1)
        m = min(-(-int(count.max()) // 8) * 8, ids.shape[1])
        at = random_order(chosen, rng)[:, :m]  # the predicted places in their order, then spare ones
        turn = np.broadcast_to(np.arange(m), at.shape)
        real = turn < count[:, None]
        rank = np.full(ids.shape, -1, np.int64)
        np.put_along_axis(rank, at, np.where(real, turn, -1), axis=1)

        def behind(tokens: np.ndarray, masks: np.ndarray, queries: np.ndarray) -> np.ndarray:
            return np.concatenate([tokens, masks, queries], axis=1)

        copies = np.where(real, np.take_along_axis(hidden, at, 1), ids.dtype.type(self.facts.pad))
        asked = np.where(real, np.take_along_axis(labels, at, 1), IGNORE)
        places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        streams = (np.full(x.shape, s, np.int8) for x, s in ((ids, TOKEN), (at, MASK), (at, QUERY)))
        if "doc" in batch:
            own = np.take_along_axis(batch.doc, at, 1)
            batch = batch.but(doc=behind(batch.doc, own, own))
        return batch.but(
            ids=behind(ids, copies, copies),
            positions=behind(places, at, at),
            rank=behind(rank, turn, turn),
            stream=behind(*streams),
            valid=behind(valid, real, real),
            labels=behind(np.full_like(labels, IGNORE), np.full_like(asked, IGNORE), asked),
            **dict.fromkeys(("special", "word_starts", "segments")),
        )

    def visible(self, batch: Batch) -> Rule:
        return own_document(batch, compensated(batch.rank, batch.stream, mode=self.config.mode))

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        return {self.losses[0]: head_loss(self.head, pick(out.states, batch), batch.targets)}  # type: ignore[arg-type]

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        scores = self.head(pick(out.states, batch))  # type: ignore[arg-type]
        return {"accuracy": Sum(accuracy(scores, batch.targets), (batch.targets >= 0).sum())}

    def baselines(self, facts: Facts) -> dict[str, float]:
        return token_baselines(facts, facts.counts, ~facts.is_special())
