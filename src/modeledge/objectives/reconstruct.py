"""Write a whole text again from a spoilt one: BART's five noises, alone and together.

    token masking         noise: mask        sentence permutation   moves: [sentences]
    token deletion        noise: delete      document rotation      moves: [rotation]
    text infilling        noise: infill

What is moved is moved first, then tokens are hidden. The token that frames a row in front and the one that ends it stay
in place. Source: BART, arXiv:1910.13461 §2.2 and the released noising, in which rates count words. Sentences are
those of the store (the release splits at the full stop). Not here: T5's objectives (denoise.py)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from torch import nn

from modeledge.core import Batch, Facts
from modeledge.objectives.seq2seq import Body, Seq2Seq, Start, body_of, carried
from modeledge.views.arrange.pack import pack
from modeledge.views.corrupt.infill import infill
from modeledge.views.corrupt.mask import choose_count
from modeledge.views.corrupt.order import permute_sentences, rotate
from modeledge.views.corrupt.spans import Shown, show_dropped, show_masked


class Reconstruct(Seq2Seq):
    """Spoil a row, write it as it was."""

    class Config(Seq2Seq.Config):
        """moves: what is put elsewhere, in this order; noise: what is done to words (mask: each of its tokens shown as
        a mask; delete: not at all; infill: runs of words as one mask); rate: share of the words (of the tokens for mask
        and delete); span: mean length of a run in words."""

        moves: tuple[Literal["sentences", "rotation"], ...] = ()
        noise: Literal["mask", "delete", "infill", "none"] = "infill"
        rate: float = Field(0.3, gt=0, lt=1)
        span: float = Field(3.0, ge=1)
        start: str | Start = "eos"

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.needs = ("ids", "sentence_starts") if "sentences" in config.moves else ("ids",)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        pad, end = self.facts.pad, self.end
        body = body_of(batch, self.facts)
        order = self._order(batch, body, rng)
        moved = np.take_along_axis(body.ids, order, axis=1)
        words = batch.get("word_starts")
        if words is not None:
            words = np.take_along_axis(words[:, -body.ids.shape[1] :], order, axis=1)
        tokens, kept = self._shown(moved, body.n, words, rng)
        shown = pack(tokens, kept, pad=pad, begin=body.begin, end=end, multiple=8)
        inside = np.arange(body.ids.shape[1]) < body.n[:, None]
        asked = pack(body.ids, inside, pad=pad, begin=body.begin, end=end, multiple=8)
        made = Batch(ids=shown.ids, target_ids=asked.ids, target_valid=asked.valid)
        made |= carried(batch)
        return super().view(made.but(valid=None if shown.valid.all() else shown.valid), rng)

    def _order(self, batch: Batch, body: Body, rng: np.random.Generator) -> np.ndarray:
        """Which place each place of the spoilt row comes from: int64 b t."""
        width = body.ids.shape[1]
        order = np.broadcast_to(np.arange(width), body.ids.shape)
        for move in self.config.moves:
            if move == "sentences":
                starts = np.take_along_axis(batch.sentence_starts[:, -width:], order, axis=1)
                turn = permute_sentences(body.n, starts, rng)
            else:
                turn = rotate(body.n, width, rng)
            order = np.take_along_axis(order, turn, axis=1)
        return order

    def _shown(self, ids: np.ndarray, n: np.ndarray, words: np.ndarray | None, rng: np.random.Generator) -> Shown:
        cfg, mask = self.config, self.role("mask")
        inside = np.arange(ids.shape[1]) < n[:, None]
        if cfg.noise == "infill":
            return infill(ids, n, words, rng, rate=cfg.rate, span=cfg.span, mask=mask)
        if cfg.noise == "none":
            return ids, inside
        chosen = choose_count(inside, rng, rate=cfg.rate)
        if cfg.noise == "delete":
            tokens, kept = show_dropped(ids, chosen)
        else:
            tokens, kept = show_masked(ids, chosen, rng, mask=mask, words=self.facts.words)
        return tokens, kept & inside
