"""Fill blanks: runs of tokens are cut out of a text and written behind it, token by token, in a random order.

Source: GLM, arXiv:2103.10360 §2.1-2.2: short spans for understanding; one long span, or whole sentences, for writing.
The rest of the text is read in both directions, the runs from left to right, each also seeing the runs before it. Rows
need two sentinels in the tokenizer, a run's start and its end; `backbone.embedding.types.inner` tells places inside a
run. With `unit: tail` the objective is a prefix language model. Not here: writing with the trained model (run)."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from modeledge.core import Batch, Facts, Output, PartConfig, RecipeError, Slot, Sum, build, part
from modeledge.losses.cross_entropy import accuracy, head_loss
from modeledge.objectives import Objective, Rule, own_document, pick, token_baselines
from modeledge.views.arrange.blanks import append_blanks
from modeledge.views.corrupt.blanks import long_span, short_spans, span_lengths, whole_sentences
from modeledge.views.corrupt.spans import noise_tail
from modeledge.visibility.prefix import prefix

ENDS = (".", "!", "?", "。", "！", "？")
"""Tokens that end a sentence."""


class Infill(Objective):
    """Autoregressive filling of blanks."""

    class Config(Objective.Config):
        """unit: what becomes a blank: short spans, one long span, whole sentences, or everything from a random place
        on; rate: share of tokens in spans or sentences; span: parameter of the Poisson distribution of their lengths;
        least: share of a row that a long span has at least."""

        unit: Literal["spans", "long", "sentences", "tail"] = "spans"
        rate: float = Field(0.15, gt=0, le=0.5)
        span: float = Field(3.0, gt=0)
        least: float = Field(0.5, gt=0, le=1)
        head: Annotated[PartConfig, Slot("heads")] = part("token", transform="none", bias=False)

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        if len(facts.sentinels) < 2 or "mask" not in facts.special:
            raise RecipeError(
                f"objective {self.losses[0]}: needs a tokenizer with a mask and two sentinels (a run's start and end),"
                f" this one has {len(facts.sentinels)} sentinels\n  next: tokenizer.sentinels=2"
            )
        self.head = build("heads", config.head, facts, backbone)
        self.start, self.end = facts.sentinels[:2]
        self.is_special = facts.is_special()
        self.lengths = span_lengths(config.span)
        self.hide = getattr(self, f"_{config.unit}")
        self.ends: np.ndarray | None = None
        if config.unit == "sentences":
            if facts.tokenizer is None:
                raise RecipeError(f"objective {self.losses[0]}: unit: sentences needs the tokenizer's own tokens")
            self.ends = np.isin(facts.tokenizer.pieces.tokens, ENDS)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        real = batch.valid if "valid" in batch else np.ones(batch.ids.shape, bool)
        special = batch.special if "special" in batch else self.is_special[batch.ids]
        return self.blanked(batch, self.hide(batch.ids, ~special & real, rng), real, rng)

    def blanked(self, batch: Batch, hidden: np.ndarray, real: np.ndarray, rng: np.random.Generator) -> Batch:
        """The rows with their hidden runs written behind them."""
        mask, pad = self.facts.special["mask"], self.facts.pad
        made = append_blanks(batch.ids, hidden, real, rng, mask=mask, start=self.start, end=self.end, pad=pad)
        kept = {name: batch[name] for name in ("row", "epoch") if name in batch}
        if "doc" in batch:
            kept["doc"] = np.where(made.valid, np.take_along_axis(batch.doc, made.source, axis=1), -1)
        fields = made._asdict()
        del fields["source"]
        return Batch(fields | kept).but(valid=None if made.valid.all() else made.valid)

    def _spans(self, ids: np.ndarray, maskable: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return short_spans(maskable, rng, rate=self.config.rate, lengths=self.lengths)

    def _long(self, ids: np.ndarray, maskable: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return long_span(maskable, rng, least=self.config.least)

    def _sentences(self, ids: np.ndarray, maskable: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        assert self.ends is not None
        return whole_sentences(maskable, self.ends[ids], rng, rate=self.config.rate)

    def _tail(self, ids: np.ndarray, maskable: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """From a place drawn evenly up to the last ordinary token, ends of documents on the way included."""
        last = maskable.shape[1] - maskable[:, ::-1].argmax(axis=1)
        return noise_tail(np.where(maskable.any(axis=1), last, 0), maskable.shape[1], rng)

    def visible(self, batch: Batch) -> Rule:
        return own_document(batch, prefix(batch.prefix))

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        return {self.losses[0]: head_loss(self.head, pick(out.states, batch), batch.targets)}  # type: ignore[arg-type]

    def scores(self, out: Output, batch: Batch) -> Tensor:
        """A score for each token of the vocabulary at each target."""
        return self.head(pick(out.states, batch))  # type: ignore[arg-type]

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        right = accuracy(self.scores(out, batch), batch.targets)
        return {"accuracy": Sum(right, (batch.targets >= 0).sum())}

    def baselines(self, facts: Facts) -> dict[str, float]:
        """unigram: how often each token occurs, and for spans how often one ends."""
        found = token_baselines(facts, facts.counts, ~facts.is_special())
        if "unigram" not in found:
            return found
        ends = 1 / (1 + float(self.lengths @ np.arange(1, len(self.lengths) + 1)))
        if self.config.unit != "spans":
            ends = 0.0  # one in hundreds
        return found | {"unigram": mixed(found["unigram"], ends)}


def mixed(words: float, ends: float) -> float:
    """Entropy where a share of the targets is the end token and the rest are words of this entropy, in nats."""
    sides = [p for p in (ends, 1 - ends) if p > 0]
    return (1 - ends) * words - sum(p * math.log(p) for p in sides)
