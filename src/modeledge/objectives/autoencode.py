"""Write a sentence again from a copy whose tokens have moved a little, and some of which are gone or masked.

Sources: Lample et al., arXiv:1711.00043 §2.3; XNLG, arXiv:1909.10481 §3.2 and its released code (tokens, not words).
Not here: noise on whole words, sentences and documents (reconstruct.py), other languages as the target (seq2seq.py)."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from modeledge.core import Batch
from modeledge.objectives.seq2seq import Seq2Seq, Start, body_of, carried
from modeledge.views.arrange.pack import pack
from modeledge.views.corrupt.mask import choose_exactly
from modeledge.views.corrupt.order import nudge


class Autoencode(Seq2Seq):
    """Reads text framed or bare; asks for its tokens and an end token."""

    class Config(Seq2Seq.Config):
        """shuffle: a token moves by less than so many places; drop, blank: shares of the tokens that are left out, and
        of those that are shown as a mask. At least one token stays."""

        shuffle: float = Field(3.0, ge=0)
        drop: float = Field(0.1, ge=0, lt=1)
        blank: float = Field(0.1, ge=0, lt=1)
        start: str | Start = "eos"

    config: Config
    needs = ("ids",)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        cfg, pad = self.config, self.facts.pad
        body = body_of(batch, self.facts)
        shape = body.ids.shape
        inside = np.arange(shape[1]) < body.n[:, None]
        order = nudge(body.n, shape[1], rng, reach=cfg.shuffle)
        stays = inside & (rng.random(shape) >= cfg.drop)
        stays |= choose_exactly(inside, (~stays.any(axis=1)).astype(np.int64), rng)
        tokens = np.take_along_axis(body.ids, order, axis=1)
        tokens = np.where(rng.random(shape) < cfg.blank, tokens.dtype.type(self.role("mask")), tokens)
        shown = pack(tokens, stays, pad=pad, begin=body.begin, end=self.end, multiple=8)
        asked = pack(body.ids, inside, pad=pad, end=self.end, multiple=8)
        made = Batch(ids=shown.ids, target_ids=asked.ids, target_valid=asked.valid)
        made |= carried(batch)
        return super().view(made.but(valid=None if shown.valid.all() else shown.valid), rng)
