"""Answers cut from a passage: which span to give, and how it is judged.

Sources: SQuAD, arXiv:1606.05250 §6.1 (exact match and F1 of words, best of several references) and its released
script (lower case, no punctuation or articles); windows and the score of no answer: BERT, arXiv:1810.04805 §4.2-4.3."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WORD = re.compile(r"[一-鿿㐀-䶿]|[^\s一-鿿㐀-䶿]+")


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single spaces."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(answer: str, references: Sequence[str]) -> float:
    """1 if the answer is one of the references after normalisation, else 0."""
    return float(normalise(answer) in {normalise(r) for r in references})


def f1(answer: str, references: Sequence[str]) -> float:
    """The best F1 of words over the references. A Chinese character is a word of its own (CMRC 2018's script)."""
    return max(_f1(answer, r) for r in references)


def _f1(answer: str, reference: str) -> float:
    said, asked = _WORD.findall(normalise(answer)), _WORD.findall(normalise(reference))
    if not said or not asked:  # no answer: right only if there is none
        return float(said == asked)
    common = sum((Counter(said) & Counter(asked)).values())
    return 2 * common / (len(said) + len(asked))


def score(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Mean `exact_match` and `f1` of each answer against its references; none is the reference ""."""
    known = [list(r) or [""] for r in references]
    return {
        "exact_match": float(np.mean([exact(a, r) for a, r in zip(answers, known, strict=True)])),
        "f1": float(np.mean([f1(a, r) for a, r in zip(answers, known, strict=True)])),
    }


class Spans(NamedTuple):
    """The best span of each window: first and last token, and its score."""

    first: np.ndarray
    last: np.ndarray
    score: np.ndarray


def best_spans(
    starts: Float[np.ndarray, "b t"], ends: Float[np.ndarray, "b t"], allowed: Bool[np.ndarray, "b t"], *, most: int
) -> Spans:
    """The span i <= j of at most `most` tokens, both ends allowed, with the highest starts[i] + ends[j]."""
    t = starts.shape[1]
    begin = np.where(allowed, starts, -np.inf).astype(np.float64)
    finish = np.where(allowed, ends, -np.inf).astype(np.float64)
    best = np.full(len(starts), -np.inf)
    first = np.zeros(len(starts), np.int64)
    last = np.zeros(len(starts), np.int64)
    for size in range(min(most, t)):  # one vectorised pass a length, never a b x t x t table
        sums = begin[:, : t - size] + finish[:, size:]
        at = sums.argmax(1)
        value = np.take_along_axis(sums, at[:, None], 1)[:, 0]
        better = value > best
        best, first = np.where(better, value, best), np.where(better, at, first)
        last = np.where(better, at + size, last)
    return Spans(first, last, best)
