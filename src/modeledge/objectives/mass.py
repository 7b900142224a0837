"""Write the one fragment that is hidden: the decoder reads what stands before each token of it, where it stands.

Source: MASS, arXiv:1905.02450 §3.1 and the released code: the text's end is part of the text, the decoder's first
input is the token left of the fragment, and its positions are those of the tokens it reads. A fragment of one token
asks what BERT asks, one of all tokens what GPT asks (but for the length, which the masks tell). Not here: the
embeddings of languages and back-translation."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from modeledge.core import IGNORE, Batch
from modeledge.objectives._shares import Shares
from modeledge.objectives.seq2seq import Seq2Seq, body_of, carried
from modeledge.views.arrange.pack import pack
from modeledge.views.corrupt.fragment import choose_fragment
from modeledge.views.corrupt.mask import replace


class Mass(Seq2Seq):
    """Hide a fragment from the encoder, write it with the decoder."""

    class Config(Seq2Seq.Config):
        """rate: share of the tokens in the fragment, at least one of them; replace: shares of masks and of random
        tokens among those that are hidden; reads: whether the decoder looks at the hidden places of the input too."""

        rate: float = Field(0.5, gt=0, le=1)
        replace: Shares = (0.8, 0.1)
        reads: Literal["all", "shown"] = "all"
        start: Literal["eos", "sep", "bos", "cls", "pad"] = "eos"

    config: Config
    needs = ("ids",)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        cfg = self.config
        body = body_of(batch, self.facts)
        inside = np.arange(body.ids.shape[1]) < body.n[:, None]
        begin = self.start if body.begin is None else body.begin
        ids, valid = pack(body.ids, inside, pad=self.facts.pad, begin=begin, end=self.end, multiple=8)
        first, size = choose_fragment(body.n + 1, rng, rate=cfg.rate)
        first += 1  # what begins the row is never hidden
        place = np.arange(ids.shape[1])
        chosen = (place >= first[:, None]) & (place < (first + size)[:, None])
        hidden, _ = replace(ids, chosen, rng, mask=self.role("mask"), words=self.facts.words, shares=cfg.replace)

        step = np.arange(-(-int(size.max()) // 8) * 8)
        at = np.minimum(first[:, None] + step, ids.shape[1] - 1)
        labels = np.where(step < size[:, None], np.take_along_axis(ids, at, axis=1), np.int64(IGNORE))
        made = Batch(ids=hidden, decoder_ids=np.take_along_axis(ids, at - 1, axis=1), decoder_positions=at - 1)
        made |= carried(batch)
        readable = valid & ~chosen if cfg.reads == "shown" else None
        made = made.but(decoder_labels=labels, readable=readable, decoder_lang=made.get("lang"))
        return made.but(valid=None if valid.all() else valid)
