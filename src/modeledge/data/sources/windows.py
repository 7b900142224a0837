"""Blocks of words with a window drawn around each, frequent words thinned out: the data of word vectors.

Source: word2vec, arXiv:1301.3781 §3 (a window of 1..c words drawn for each place) and arXiv:1310.4546 §2.3
(subsampling). As in the released tool a word is dropped before windows are laid, so that the others move closer, and
words outside the vocabulary are dropped too. Windows do not cross documents, nor the edges of a block: of the pairs
that the tool would see a share of about (window + 2) / (3 x words kept) is lost."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from modeledge.core import Batch, DataError, Facts
from modeledge.data.sources import Source
from modeledge.data.store import Store

Formula = Literal["tool", "paper"]


class Windows(Source):
    """Row r is the words at r * length ... of the corpus that are kept this time.

    Emits `reach` [b, t]: how many words to each side are the word's context; 0 at padding. `doc` tells documents
    apart."""

    class Config(Source.Config):
        """length: words a row before any is dropped; window: the largest reach; sample: the relative frequency above
        which words are thinned out (0: none is); keep: how, as the released tool (and gensim) does or as the paper
        says."""

        length: int = Field(96, ge=4, le=1 << 14)
        window: int = Field(5, ge=1, le=100)
        sample: float = Field(1e-3, ge=0, lt=1)
        keep: Formula = "tool"
        sampling: float = Field(1.0, ge=1, le=1)

    config: Config

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.tokens = self.store["tokens"]
        self.ends = np.asarray(self.store.offsets("tokens"))[1:]
        if facts.counts is None:
            raise DataError(
                f"{self.store.path}: subsampling needs the counts of the training words, and there are none"
            )
        ordinary = np.where(facts.is_special(), 0.0, facts.counts)
        self.rates = keep_rates(ordinary, sample=config.sample, formula=config.keep)
        self.number(-(-len(self.tokens) // config.length))

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        length = self.config.length
        place = index[:, None] * length + np.arange(length)
        ids = self.tokens[np.minimum(place, len(self.tokens) - 1)].astype(np.int32)
        kept = (rng.random(ids.shape) < self.rates[ids]) & (place < len(self.tokens))
        doc = np.searchsorted(self.ends, place, side="right")
        doc -= doc[:, :1]
        row, column = np.nonzero(kept)
        at = (np.cumsum(kept, axis=1) - 1)[row, column]  # kept words move to the front
        width = -(-max(1, int(kept.sum(axis=1).max())) // 8) * 8  # a multiple: few shapes, little padding
        shape = (len(index), width)
        batch = Batch(ids=np.full(shape, self.facts.pad, np.int32), doc=np.full(shape, -1, np.int32))
        batch.ids[row, at], batch.doc[row, at] = ids[row, column], doc[row, column]
        valid = batch.doc >= 0
        reach = rng.integers(1, self.config.window + 1, shape, dtype=np.int32)
        return batch.but(reach=np.where(valid, reach, 0), valid=None if valid.all() else valid)


def keep_rates(counts: Float[np.ndarray, " v"], *, sample: float, formula: Formula) -> Float[np.ndarray, " v"]:
    """The probability that an occurrence of each word is kept; 0 for words that do not occur.

    With f the relative frequency and t = `sample`: sqrt(t / f) in the paper (arXiv:1310.4546 eq. 5), and in the tool
    released with it (sqrt(f / t) + 1) t / f, which keeps more: sqrt(t / f) + t / f."""
    seen = counts > 0
    if sample == 0:
        return seen.astype(np.float64)
    ratio = sample * counts.sum() / np.where(seen, counts, 1.0)  # t / f
    rates = np.sqrt(ratio) if formula == "paper" else np.sqrt(ratio) + ratio
    return np.where(seen, np.minimum(rates, 1.0), 0.0)
