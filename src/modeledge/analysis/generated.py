"""Figures for generated text: BLEU and chrF by sacrebleu, ROUGE by rouge-score, and exact match."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modeledge.analysis._extra import need

KINDS = ("rouge1", "rouge2", "rougeL")


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]], *, language: str = "") -> dict[str, float]:
    """Corpus `bleu` and `chrf`, 0 to 100, each text against all its references; Chinese is cut by sacrebleu's own rule.

    Raises InputError if sacrebleu is missing."""
    sacrebleu = need("sacrebleu", feature="BLEU")
    most = max(map(len, references))
    columns = [[refs[i] if i < len(refs) else None for refs in references] for i in range(most)]
    cut = {"tokenize": "zh"} if language == "zh" else {}
    return {
        "bleu": float(sacrebleu.corpus_bleu(list(texts), columns, **cut).score),
        "chrf": float(sacrebleu.corpus_chrf(list(texts), columns).score),
    }


def rouge(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Mean F of `rouge1`, `rouge2`, `rougeL`, 0 to 1, stemmed; of several references the best one counts.

    Raises InputError if rouge-score is missing."""
    scorer = need("rouge_score.rouge_scorer", feature="ROUGE", package="rouge-score").RougeScorer(
        KINDS, use_stemmer=True
    )
    found = [scorer.score_multi(list(refs), text) for text, refs in zip(texts, references, strict=True)]
    return {kind: float(np.mean([f[kind].fmeasure for f in found])) for kind in KINDS}


def matches(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The share of texts equal to one of their references, but for outer and repeated spaces."""
    same = [
        " ".join(t.split()) in {" ".join(r.split()) for r in refs} for t, refs in zip(texts, references, strict=True)
    ]
    return float(np.mean(same))
