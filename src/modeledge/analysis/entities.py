"""Figures for tagged tokens: accuracy of tags, F1 of whole entities where the tags are B-, I- and O, else F1 of the
tokens that are not O.

An entity counts if its type and both its ends are right; tags are read strictly as IOB2 (an I- that continues nothing
begins nothing), by seqeval."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from modeledge.analysis._extra import need

Tags = Sequence[Sequence[str]]


def is_iob2(names: Sequence[str]) -> bool:
    """Whether tags name entities: O, B-x and I-x only."""
    return any(n.startswith("B-") for n in names) and all(n == "O" or n[:2] in ("B-", "I-") for n in names)


def tagging(predicted: Tags, gold: Tags, *, names: Sequence[str]) -> dict[str, float]:
    """`accuracy` over all tokens; where some are O also `precision`, `recall` and `f1` of entities (IOB2) or of the
    tokens that have another tag.

    Raises InputError if seqeval is needed and missing."""
    pairs = [(p, g) for said, asked in zip(predicted, gold, strict=True) for p, g in zip(said, asked, strict=True)]
    figures = {"accuracy": sum(p == g for p, g in pairs) / max(len(pairs), 1)}
    if not is_iob2(names):
        right, said, asked = (
            sum(map(ok, pairs)) for ok in (lambda t: t[0] == t[1] != "O", lambda t: t[0] != "O", lambda t: t[1] != "O")
        )
        parts = {
            "precision": right / max(said, 1),
            "recall": right / max(asked, 1),
            "f1": 2 * right / max(said + asked, 1),
        }
        return figures | (parts if "O" in names else {})
    metrics = need("seqeval.metrics.v1", feature="F1 of entities")
    scheme = need("seqeval.scheme", feature="F1 of entities").IOB2
    asked, said = [list(t) for t in gold], [list(t) for t in predicted]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sets without any entity
        found = metrics.precision_recall_fscore_support(
            asked, said, average="micro", mode="strict", scheme=scheme, zero_division=0
        )
    return figures | dict(zip(("precision", "recall", "f1"), map(float, found), strict=False))
