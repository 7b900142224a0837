"""Masked language modelling.

Source: BERT, arXiv:1810.04805 §3.1; dynamic masks: RoBERTa, arXiv:1907.11692 §4.1; n-gram masks: ALBERT,
arXiv:1909.11942 §4.1. Not here: replaced-token detection (rtd.py), span boundaries."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from torch import nn

from modeledge.core import Batch, Facts, Output, PartConfig, RowRandom, Slot, Sum, build, part
from modeledge.losses.cross_entropy import accuracy, cross_entropy
from modeledge.objectives import Objective, entropy, pick
from modeledge.views.corrupt.mask import choose_count, choose_each, choose_words, replace, word_ids


class MaskedLM(Objective):
    """Hide some tokens, predict them from both sides."""

    class Config(Objective.Config):
        """rate: share of ordinary tokens to predict; select: how they are chosen (a fixed count a row, each
        independently, or whole words); ngrams: longest run of words, drawn with p(n) proportional to 1/n;
        replace: shares of [MASK] and of random tokens among the chosen; most: at most so many a row;
        static: so many fixed masks a row, reused over the epochs (0: a new one each time)."""

        rate: float = Field(0.15, gt=0, lt=1)
        select: Literal["count", "each", "words"] = "count"
        ngrams: int = Field(1, ge=1, le=8)
        replace: tuple[float, float] = (0.8, 0.1)
        most: int | None = Field(None, ge=1)
        static: int = Field(0, ge=0)
        head: Annotated[PartConfig, Slot("heads")] = part("token")

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone)
        self.is_special = facts.is_special()

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        ids = batch.ids
        maskable = ~(batch.special if "special" in batch else self.is_special[ids])
        if "valid" in batch:
            maskable &= batch.valid
        special, cfg = self.facts.special, self.config
        if cfg.static:  # the same masks whenever the row comes again
            rng = RowRandom(batch.row * cfg.static + batch.epoch % cfg.static, "static mask")  # type: ignore[assignment]
        chosen = self.choose(batch, maskable, rng)
        hidden, labels = replace(ids, chosen, rng, mask=special["mask"], words=self.facts.words, shares=cfg.replace)
        return batch.but(ids=hidden, labels=labels)

    def choose(self, batch: Batch, maskable: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Which tokens are to be predicted: bool b t."""
        cfg = self.config
        if cfg.select == "each":
            return choose_each(maskable, rng, rate=cfg.rate)
        if cfg.select == "count" and cfg.ngrams == 1:
            return choose_count(maskable, rng, rate=cfg.rate, most=cfg.most)
        runs = 1 / np.arange(1, cfg.ngrams + 1) if cfg.ngrams > 1 else None
        lengths = None if runs is None else runs / runs.sum()
        starts = batch.word_starts if cfg.select == "words" else np.ones_like(maskable)
        return choose_words(maskable, word_ids(starts), rng, rate=cfg.rate, lengths=lengths)

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        return {self.losses[0]: cross_entropy(self.head(pick(self.states(out), batch)), batch.targets)}

    def states(self, out: Output) -> Any:
        """The states the head reads: b t d."""
        return out.states

    def baselines(self, facts: Facts) -> dict[str, float]:
        known = entropy(facts.counts, np.flatnonzero(~facts.is_special()))
        return {"uniform": math.log(facts.vocab)} | ({"unigram": known} if known else {})

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        logits = self.head(pick(self.states(out), batch))
        return {"accuracy": Sum(accuracy(logits, batch.targets), (batch.targets >= 0).sum())}
