"""Texts with blanks, filled by whatever model was pre-trained to: one token each (BERT), as many as needed (GLM), or a
name in a record (OAG-BERT).

Not here: how (fill.py, infill.py, records.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modeledge.run.fill import MASK, fill
from modeledge.run.infill import infill
from modeledge.run.keep import Loaded
from modeledge.run.records import fill_records, reads_records
from modeledge.run.search import Beam, Greedy, Sample


def fills_blanks(loaded: Loaded) -> bool:
    """Whether a model was pre-trained to fill blanks and taught nothing else since."""
    return any(config.kind in ("mlm", "infill") for config in loaded.recipe.objectives)


def fill_blanks(
    loaded: Loaded, texts: Sequence[str], how: Greedy | Sample | Beam, *, limit: int
) -> list[dict[str, Any]]:
    """One dict a text: `filled`, the text with its blanks filled, and `guesses`, for each blank the likeliest tokens
    with their probabilities (one token a blank) or what was written (at most `limit` tokens a blank).

    Raises InputError for a text without [MASK]."""
    if reads_records(loaded):
        return fill_records(loaded, texts, how, limit=limit)
    if any(config.kind == "infill" for config in loaded.recipe.objectives):
        written: list[list[Any]] = [list(said) for said in infill(loaded, texts, how, limit=limit)]
        best = [[str(said) for said in row] for row in written]
    else:
        written = [found.guesses for found in fill(loaded, texts)]
        best = [[_word(loaded.facts.tokenizer, guesses[0][0]) for guesses in row] for row in written]
    return [{"text": t, "filled": _put(t, b), "guesses": g} for t, b, g in zip(texts, best, written, strict=True)]


def _word(tokenizer: Any, token: str) -> str:
    return tokenizer.decode([tokenizer.inner.token_to_id(token)]).strip().removeprefix("##")


def _put(text: str, said: Sequence[str]) -> str:
    first, *rest = text.split(MASK)
    return first + "".join(filled + piece for filled, piece in zip(said, rest, strict=True))
