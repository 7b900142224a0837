"""Whole sentences of one document packed into rows; the tail of a document makes a short row.

Source: RoBERTa, arXiv:1907.11692 §4.2 (DOC-SENTENCES). The paper enlarges the batch where rows are short; here rows are
padded, so that a batch has fewer tokens than its size says."""

from __future__ import annotations

from modeledge.data.sources.full_sentences import FullSentences


class DocSentences(FullSentences):
    """[cls] sentences of one document [sep]."""

    crosses = False
