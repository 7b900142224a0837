"""Make a text-to-text problem out of plain text: what is noise, how it is shown, what is asked.

Source: T5, arXiv:1910.10683 §3.3, table 3 and the released preprocessors. The paper's objectives are settings:

    prefix language model   noise: tail     show: drop      ask: noise
    BERT-style              noise: each     show: mixed     ask: full
    deshuffling             noise: shuffle                  ask: full
    mask tokens             noise: each     show: mask      ask: full
    replace spans           noise: each     show: sentinel  ask: sentinel
    drop tokens             noise: each     show: drop      ask: noise
    random spans (T5)       noise: spans    show: sentinel  ask: sentinel

Where tokens are noise one by one the first of a row never is (as in random spans), so that input and target name spans
alike. Not here: BART's noises on sentences and documents."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from torch import nn

from modeledge.core import Batch, Facts, RecipeError
from modeledge.objectives.seq2seq import Seq2Seq, carried
from modeledge.views.arrange.pack import pack
from modeledge.views.corrupt.mask import choose_each
from modeledge.views.corrupt.spans import (
    Shown,
    at_most,
    noise_spans,
    noise_tail,
    show_dropped,
    show_masked,
    show_sentinels,
    shuffle,
)


class Denoise(Seq2Seq):
    """Corrupt a row, reconstruct it or what is missing."""

    apart = False

    class Config(Seq2Seq.Config):
        """noise: tokens in spans of mean length `span`, each token by itself, everything from a random place on, or
        the order; rate: share of noise; show: noise as one sentinel a span, as a mask a token (mixed: one in ten as a
        random token), or not at all; ask: the noise with its sentinels, the noise alone, or the whole text."""

        noise: Literal["spans", "each", "tail", "shuffle"] = "spans"
        rate: float = Field(0.15, gt=0, lt=1)
        span: float = Field(3.0, ge=1)
        show: Literal["sentinel", "mask", "mixed", "drop"] = "sentinel"
        ask: Literal["sentinel", "noise", "full"] = "sentinel"

    config: Config
    needs = ("ids",)

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.sentinels = np.asarray(facts.sentinels, np.int64)
        if "sentinel" in (config.show, config.ask) and len(self.sentinels) < 2:
            raise RecipeError(
                f"objective {self.losses[0]}: show/ask: sentinel needs a tokenizer with sentinels, this one has"
                f" {len(self.sentinels)}\n  next: tokenizer.sentinels=100, or show=mask ask=full"
            )

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        ids, pad, end = batch.ids, self.facts.pad, self.role("eos")
        n = self._length(batch)
        noise = self._noise(n, ids.shape[1], rng)
        row = np.arange(ids.shape[1]) < n[:, None]
        tokens, kept = self._shown(ids, noise, n, rng)
        shown = pack(tokens, kept & row, pad=pad, end=end, multiple=8)
        tokens, kept = self._asked(ids, noise)
        asked = pack(tokens, kept & row, pad=pad, end=end, multiple=8)
        made = Batch(ids=shown.ids, target_ids=asked.ids, target_valid=asked.valid)
        made |= carried(batch)
        return super().view(made.but(valid=None if shown.valid.all() else shown.valid), rng)

    def _length(self, batch: Batch) -> np.ndarray:
        """Tokens of each row without padding and without an end token of its own: int64 b."""
        b, t = batch.ids.shape
        n = batch.valid.sum(axis=1) if "valid" in batch else np.full(b, t)
        last = batch.ids[np.arange(b), np.maximum(n - 1, 0)]
        return n - (last == self.role("eos"))

    def _noise(self, n: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
        cfg = self.config
        if cfg.noise == "shuffle":
            return np.ones((len(n), width), bool)
        if cfg.noise == "tail":
            return noise_tail(n, width, rng)
        if cfg.noise == "spans":
            noise = noise_spans(n, width, rng, rate=cfg.rate, span=cfg.span)
        else:
            place = np.arange(width)
            noise = choose_each((place > 0) & (place < n[:, None]), rng, rate=cfg.rate)
        named = "sentinel" in (cfg.show, cfg.ask)
        return at_most(noise, len(self.sentinels) - 1) if named else noise  # one more may close the target

    def _shown(self, ids: np.ndarray, noise: np.ndarray, n: np.ndarray, rng: np.random.Generator) -> Shown:
        cfg = self.config
        if cfg.noise == "shuffle":
            return shuffle(ids, n, rng), noise
        if cfg.show == "sentinel":
            return show_sentinels(ids, noise, sentinels=self.sentinels)
        if cfg.show == "drop":
            return show_dropped(ids, noise)
        random = 0.1 if cfg.show == "mixed" else 0.0
        words = self.facts.words
        return show_masked(ids, noise, rng, mask=self.role("mask"), words=words, random_rate=random)

    def _asked(self, ids: np.ndarray, noise: np.ndarray) -> Shown:
        if self.config.ask == "sentinel":
            return show_sentinels(ids, ~noise, sentinels=self.sentinels)
        return show_dropped(ids, ~noise) if self.config.ask == "noise" else (ids, np.ones_like(noise))

    def baselines(self, facts: Facts) -> dict[str, float]:
        """unigram: of a target with sentinels, what its words cost by frequency and nothing else. The sentinels come
        one after the other and tell nothing; that spans end somewhere is left out, so it is a lower bound."""
        found = super().baselines(facts)
        if self.config.ask == "sentinel" and "unigram" in found:
            found["unigram"] *= self._words()
        return found

    def _words(self) -> float:
        """The share of a target with sentinels that is words: spans by their mean length, one sentinel each."""
        span = {"spans": self.config.span, "each": 1 / (1 - self.config.rate)}.get(self.config.noise)
        return span / (span + 1) if span else 1.0
