"""Write one text after another with a model that fills blanks: the second text is what a mask behind the first hides.

Source: GLM, arXiv:2103.10360 §2.3 (generation tasks). The end of the blank is the end of the text. Not here: blanks
inside a text (infill.py), writing itself (run)."""

from __future__ import annotations

import numpy as np

from modeledge.core import Batch
from modeledge.objectives.complete import follow
from modeledge.objectives.infill import Infill
from modeledge.views.arrange.pack import pack


class BlankTarget(Infill):
    """Reads `ids` with `target_ids` and `target_valid`; the target's own end token is left to the blank's."""

    class Config(Infill.Config):
        """As infill; the blank is the target."""

    needs = ("ids", "target_ids")

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        special = self.facts.special
        last = batch.target_valid & ~np.pad(batch.target_valid[:, 1:], ((0, 0), (0, 1)))
        ends = last & np.isin(batch.target_ids, [special[r] for r in ("eos", "sep") if r in special])
        ids, valid, asked = follow(batch.but(target_valid=batch.target_valid & ~ends), pad=self.facts.pad)
        return self.blanked(batch.but(ids=ids, valid=valid), asked, valid, rng)

    def told(self, batch: Batch) -> Batch:
        """Rows to be answered: a mask behind each."""
        real = batch.valid if "valid" in batch else np.ones(batch.ids.shape, bool)
        made = pack(batch.ids, real, pad=self.facts.pad, end=np.full(len(batch.ids), self.facts.special["mask"]))
        return Batch(ids=made.ids).but(valid=None if made.valid.all() else made.valid)
