"""Masked language modelling, under any visibility.

Sources: BERT, arXiv:1810.04805 §3.1; dynamic masks: RoBERTa, arXiv:1907.11692 §4.1; a rate that falls: Ankner et al.,
arXiv:2305.15096; n-gram masks: ALBERT, arXiv:1909.11942 §4.1; runs of geometric length, replaced as one: SpanBERT,
arXiv:1907.10529 §3.1; phrases and entities: ERNIE, arXiv:1904.09223 §3.2; rare tokens first: XLM, arXiv:1901.07291
§3.3; what the data marks: Gu et al., arXiv:2004.09733; one model under four visibilities: UniLM, arXiv:1905.03197
§2.2-2.3. Not here: replaced-token detection (rtd.py), span boundaries (sbo.py)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from modeledge import core
from modeledge.core import Batch, Facts, Output, PartConfig, RowRandom, Slot, Sum, build, part
from modeledge.losses.cross_entropy import accuracy, head_loss
from modeledge.objectives import Objective, Rule, own_document, pick, token_baselines
from modeledge.objectives._shares import Shares, some
from modeledge.views.corrupt.mask import (
    Draws,
    choose_count,
    choose_each,
    choose_marked,
    choose_mention,
    choose_rare,
    choose_words,
    replace,
    runs_of,
    word_ids,
)
from modeledge.visibility.causal import anticausal, causal
from modeledge.visibility.full import full
from modeledge.visibility.prefix import prefix


class Visible(core.Config):
    """Who sees whom while the hidden tokens are predicted.

    rule: everyone, one direction, or both directions in segment A and left to right in B (prefix); segments: the ids
    that stand for segments A and B under this rule, so that a model of several rules can tell them apart (UniLM)."""

    rule: Literal["full", "causal", "anticausal", "prefix"] = "full"
    segments: tuple[int, int] | None = None


Share = Annotated[float, Field(gt=0, lt=1)]
Length = Annotated[int, Field(ge=1)]
Lengths = Annotated[tuple[Annotated[float, Field(ge=0)], ...], AfterValidator(some)]
STARTS = {
    "words": "word_starts",
    "phrases": "phrase_starts",
    "entities": "entity_starts",
    "mention": "entity_starts",
}
"""The field that says where the units of each selection begin."""
NEEDS = {**STARTS, "marked": "marked"}
"""The field each selection reads beside the tokens."""
PIECE = 1 << 22
"""Tokens of a store that are looked at together."""


class Geometric(core.Config):
    """Lengths of runs: after each unit the run ends with probability `stop`; never longer than `most`, the shares of
    the others scaled up to make one (SpanBERT: 0.2 and 10, 3.8 words on average)."""

    stop: Share = 0.2
    most: int = Field(10, ge=1)


class Together(core.Config):
    """Tokens that are replaced in one way. shares: of [MASK] and of noise; per: a unit, or a span, which is what is
    chosen without a gap."""

    shares: Shares = (0.8, 0.1)
    per: Literal["unit", "span"] = "unit"


class MaskedLM(Objective):
    """Hide some tokens, predict them from those that may be seen."""

    class Config(Objective.Config):
        """rate: share of ordinary tokens to predict, or the first and the last of a share that changes in a straight
        line over the run; select: how they are chosen (a fixed count a row, each independently, whole words, phrases or
        entities, where a word outside them is a unit of its own, a fixed count of mostly rare tokens: drawn with the
        inverse root of how often they occur, XLM, only tokens that the data marks, up to a fixed count, or one mention
        of an entity whatever the rate, REALM); ngrams: longest run of tokens or units, drawn with p(n) proportional to
        1/n, or the probabilities of runs of 1, 2, ..., or a geometric law; replace: shares of [MASK] and of random
        tokens among the chosen, drawn for each token or `per` unit or span; most: at most so many a row; static: so
        many fixed masks a row, reused over the epochs (0: a new one each time)."""

        rate: Share | tuple[Share, Share] = 0.15
        select: Literal["count", "each", "words", "phrases", "entities", "rare", "marked", "mention"] = "count"
        ngrams: Length | Lengths | Geometric = 1
        replace: Shares | Together = (0.8, 0.1)
        most: int | None = Field(None, ge=1)
        static: int = Field(0, ge=0)
        visible: Visible = Visible()
        head: Annotated[PartConfig, Slot("heads")] = part("token")

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone)
        self.is_special = facts.is_special()
        self.lengths = run_lengths(config.ngrams)
        counts = facts.counts if facts.counts is not None else np.ones(facts.vocab)
        self.rarity = np.maximum(counts, 1.0) ** -0.5
        self.asked: np.ndarray | None = None
        if config.select in NEEDS:
            self.needs = (*self.needs, NEEDS[config.select])

    def consult(self, sources: dict[str, Any]) -> None:
        source = sources[self.config.on or next(iter(sources))]
        store: Any = getattr(source, "store", ())
        if self.config.select == "mention" and hasattr(source, "mentioned"):
            self.asked = source.mentioned(self.facts.vocab)
        if self.config.select == "marked" and "marked" in store:
            self.asked = np.zeros(self.facts.vocab, np.int64)
            for begin in range(0, len(store["tokens"]), PIECE):
                part = slice(begin, begin + PIECE)
                self.asked += np.bincount(store["tokens"][part][store["marked"][part]], minlength=self.facts.vocab)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        ids = batch.ids
        maskable = ~(batch.special if "special" in batch else self.is_special[ids])
        if "valid" in batch:
            maskable &= batch.valid
        cfg = self.config
        draws: Draws = rng
        if cfg.static:  # the same masks whenever the row comes again
            draws = RowRandom(batch.row * cfg.static + batch.epoch % cfg.static, "static mask")
        chosen = self.choose(batch, maskable, draws)
        shares, units = cfg.replace, None
        if isinstance(shares, Together):
            units = self.units(batch) if shares.per == "unit" else runs_of(chosen)
            shares = shares.shares
        known = {"mask": self.role("mask"), "words": self.facts.words, "shares": shares}
        hidden, labels = replace(ids, chosen, draws, **known, units=units)
        return self._arrange(batch.but(ids=hidden, labels=labels))

    def _arrange(self, batch: Batch) -> Batch:
        cfg = self.config.visible
        segments = batch.segments if "segments" in batch else np.zeros(batch.ids.shape, np.int8)
        if cfg.rule == "prefix":
            first = segments == 0
            batch = batch.but(prefix=(first & batch.valid if "valid" in batch else first).sum(axis=1))
        if cfg.segments is not None:
            batch = batch.but(segments=np.asarray(cfg.segments, np.int8)[segments])
        return batch

    def rate(self, batch: Batch) -> float:
        """The share of tokens to predict at this point of the run."""
        rate = self.config.rate
        if isinstance(rate, float):
            return rate
        return rate[0] + (rate[1] - rate[0]) * float(batch.done[0])

    def choose(self, batch: Batch, maskable: np.ndarray, rng: Draws) -> np.ndarray:
        """Which tokens are to be predicted: bool b t."""
        cfg, rate = self.config, self.rate(batch)
        if cfg.select == "each":
            return choose_each(maskable, rng, rate=rate)
        if cfg.select == "rare":
            return choose_rare(maskable, self.rarity[batch.ids], rng, rate=rate, most=cfg.most)
        if cfg.select == "marked":
            return choose_marked(maskable, batch.marked, rng, rate=rate, most=cfg.most)
        if cfg.select == "mention":
            return choose_mention(maskable, batch.entities, batch.entity_starts, rng, most=cfg.most)
        if cfg.select == "count" and self.lengths is None:
            return choose_count(maskable, rng, rate=rate, most=cfg.most)
        return choose_words(maskable, self.units(batch), rng, rate=rate, most=cfg.most, lengths=self.lengths)

    def units(self, batch: Batch) -> np.ndarray:
        """Which unit of its row each token belongs to: int b t."""
        starts = STARTS.get(self.config.select)
        return word_ids(batch[starts] if starts else np.ones(batch.ids.shape, bool))

    def visible(self, batch: Batch) -> Rule:
        rules: dict[str, Rule] = {"full": full, "causal": causal, "anticausal": anticausal}
        name = self.config.visible.rule
        return own_document(batch, prefix(batch.prefix) if name == "prefix" else rules[name])

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        return {self.losses[0]: head_loss(self.head, pick(out.states, batch), batch.targets)}  # type: ignore[arg-type]

    def scores(self, out: Output, batch: Batch) -> Tensor:
        """A score for each token of the vocabulary at each target: m v."""
        return self.head(pick(out.states, batch))  # type: ignore[arg-type]

    def baselines(self, facts: Facts) -> dict[str, float]:
        asked = self.asked  # how often each token is a target
        if asked is None and self.config.select not in ("marked", "mention"):
            asked = facts.counts
        if asked is not None and self.config.select == "rare":
            asked = asked * self.rarity
        return token_baselines(facts, asked, ~facts.is_special())

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        return {"accuracy": Sum(accuracy(self.scores(out, batch), batch.targets), (batch.targets >= 0).sum())}


def run_lengths(ngrams: int | tuple[float, ...] | Geometric) -> Any:
    """Probabilities of runs of 1, 2, ... units; None if all runs are single."""
    if ngrams == 1:
        return None
    if isinstance(ngrams, Geometric):
        shares = (1 - ngrams.stop) ** np.arange(ngrams.most)
    else:
        shares = 1 / np.arange(1, ngrams + 1) if isinstance(ngrams, int) else np.asarray(ngrams)
    return shares / shares.sum()
