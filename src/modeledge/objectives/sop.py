"""Sentence-order prediction: are two consecutive segments in order, or swapped?

Source: ALBERT, arXiv:1909.11942 §3.1. The source of the rows swaps them (data.sources, `negative: swap`)."""

from __future__ import annotations

from modeledge.objectives.nsp import NextSentence


class SentenceOrder(NextSentence):
    """Classify the pooled state; reads `swapped` (0 = in order, 1 = swapped)."""

    field = "swapped"
    needs = ("ids", "swapped")
