"""Masked language modelling across languages only: a hidden token is told from the other language's sentence alone.

Source: CAMLM, ERNIE-M, arXiv:2012.15674 §3.2. Reads translations joined in a row. Not here: who sees whom
(visibility/other_language.py), its use on text of one language (btmlm.py)."""

from __future__ import annotations

from modeledge.core import IGNORE, Batch
from modeledge.objectives import Rule, own_document
from modeledge.objectives.mlm import MaskedLM
from modeledge.visibility.other_language import other_language


class CrossLanguageMLM(MaskedLM):
    """Targets see the other language and themselves, everything else its own language without the targets."""

    class Config(MaskedLM.Config):
        """Nothing more to set."""

    needs = ("ids", "lang")

    def visible(self, batch: Batch) -> Rule:
        return own_document(batch, other_language(batch.lang, batch.labels != IGNORE))
