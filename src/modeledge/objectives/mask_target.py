"""Write one text after another with a masked model: most of the second text is hidden, its end token too.

Source: UniLM, arXiv:1905.03197 §2.5, and the released fine-tuning: the source is read in both directions and never
hidden, the target from left to right; whoever fills the mask at the end token learns where to stop. Not here: models
that write every token in turn (complete.py), writing itself (run)."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from modeledge.core import Batch
from modeledge.objectives.complete import follow
from modeledge.objectives.mlm import MaskedLM, Visible


class MaskTarget(MaskedLM):
    """Reads `ids` with `target_ids` and `target_valid`, which are put behind them as the second segment."""

    class Config(MaskedLM.Config):
        """As mlm; rate: of the target's tokens."""

        rate: float = Field(0.7, gt=0, lt=1)
        visible: Visible = Visible(rule="prefix")

    needs = ("ids", "target_ids")

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        ids, valid, asked = follow(batch, pad=self.facts.pad)
        dropped = dict.fromkeys(("target_ids", "target_valid", "word_starts"))
        behind = batch.but(**dropped, ids=ids, valid=valid, special=~asked, segments=asked.astype(np.int8))
        return super().view(behind, rng)
