"""Back-translation masked language modelling: the model invents a translation of a sentence, then reads both.

Source: ERNIE-M, arXiv:2012.15674 §3.3. Step one: placeholders of another language are filled, all at once, from the
whole sentence, as `camlm` taught; step two: the invented tokens are constants, tokens of the sentence are hidden and
told from the rest and from the invention. As many placeholders as the sentence has words. Not here: real translations
(camlm.py)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from modeledge.core import IGNORE, Batch, Facts, Sum
from modeledge.objectives import own_document
from modeledge.objectives.mlm import MaskedLM
from modeledge.visibility import see
from modeledge.visibility.other_language import other_language


class BackTranslationMLM(MaskedLM):
    """Reads framed text with its language; a row grows to twice its length. Inventions are in language 0, those of
    language 0 in language 1, as `lang` tells."""

    class Config(MaskedLM.Config):
        """Nothing more to set."""

    needs = ("ids", "lang")
    apart = False

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.register_buffer("never", torch.from_numpy(self.is_special), persistent=False)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        whole, hidden = batch.ids, super().view(batch, rng)
        b, t = whole.shape
        real = batch.valid if "valid" in batch else np.ones((b, t), bool)
        lang = batch.lang if batch.lang.ndim == 2 else np.repeat(batch.lang[:, None], t, axis=1)
        frame = self.is_special[whole] | ~real  # the placeholders stand in a frame like the sentence's own
        empty = np.where(frame, whole, np.int32(self.role("mask")))
        n = real.sum(axis=1)[:, None]
        place, row = np.arange(2 * t), np.arange(b)[:, None]
        later = place >= n
        at = np.minimum(np.where(later, place - n, place), t - 1)
        valid = place < 2 * n
        pad = whole.dtype.type(self.facts.pad)
        shown = {"ids": hidden.ids, "whole": whole}
        made = {k: np.where(valid, np.where(later, empty[row, at], v[row, at]), pad) for k, v in shown.items()}
        made["lang"] = np.where(later, (lang[row, at] == 0).astype(lang.dtype), lang[row, at])
        made["labels"] = np.where(later, np.int64(IGNORE), hidden.labels[row, at])
        made["invented"] = later & valid & ~frame[row, at]
        kept = {k: batch[k] for k in ("row", "epoch") if k in batch}
        return Batch({**made, **kept}).but(valid=None if valid.all() else valid)

    def forward(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        return super().forward(backbone, self.translated(backbone, batch))

    def measure(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        return super().measure(backbone, self.translated(backbone, batch))

    @torch.no_grad()
    def translated(self, backbone: nn.Module, batch: Batch) -> Batch:
        """The batch with the most likely ordinary token at every placeholder; no gradient knows of it."""
        trained = backbone.training
        backbone.eval()
        rule = own_document(batch, other_language(batch.lang, batch.invented))
        seen = see(rule, *batch.ids.shape, device=batch.ids.device)
        states = backbone(batch.but(ids=batch.whole), seen).states
        backbone.train(trained)
        guesses = self.head(states[batch.invented]).masked_fill(self.never, float("-inf")).argmax(-1)
        return batch.but(ids=batch.ids.masked_scatter(batch.invented, guesses))
