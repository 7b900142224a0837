"""Write one text given another, with an encoder-decoder: translation, summaries, answers, labels in words.

Source: T5, arXiv:1910.10683 §2.4. The target comes from the table (`target_ids`), not from plain text (denoise.py); for
models without an encoder see complete.py."""

from __future__ import annotations

import numpy as np

from modeledge.core import IGNORE, Batch
from modeledge.objectives._task import trim
from modeledge.objectives.seq2seq import Seq2Seq


class TextToText(Seq2Seq):
    """Reads `target_ids` and `target_valid`."""

    class Config(Seq2Seq.Config):
        """As seq2seq."""

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        wanted = np.where(batch.target_valid, batch.target_ids, np.int64(IGNORE))
        plain = batch.but(decoder_labels=wanted, target_ids=None, target_valid=None)
        return super().view(plain, rng)

    def finish(self, batch: Batch) -> Batch:
        return trim(batch)
