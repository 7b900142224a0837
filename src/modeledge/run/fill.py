"""Fill the hidden places of a text with a model that was pre-trained to do so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeledge.core import IGNORE, Batch, InputError
from modeledge.objectives import Objective
from modeledge.run.keep import Loaded, load_model
from modeledge.tokenizers import role_id

MASK = "[MASK]"
"""How a hidden place is written, whatever the tokenizer calls its mask."""


@dataclass(frozen=True)
class Filled:
    """A text and, for each hidden place in it, the likeliest tokens with their probabilities."""

    text: str
    guesses: list[list[tuple[str, float]]]


def filler_of(loaded: Loaded) -> Objective:
    """The objective that predicts hidden tokens. Raises InputError for a model that has none."""
    for _, objective in loaded.model.each():
        if objective.config.kind == "mlm":
            return objective
    kinds = ", ".join(o.config.kind for _, o in loaded.model.each())
    raise InputError(
        f"{loaded.path}: this model was trained for {kinds}, not to fill hidden places (mlm)\n"
        "  next: a model pre-trained from a recipe like bert or roberta"
    )


@torch.no_grad()
def fill(folder: str | Path | Loaded, texts: Sequence[str], *, top: int = 3) -> list[Filled]:
    """The `top` likeliest tokens for every [MASK] of each text.

    Raises InputError for a text without a hidden place or longer than the model, and for a model that cannot fill."""
    loaded = folder if isinstance(folder, Loaded) else load_model(Path(folder))
    objective, tokenizer = filler_of(loaded), loaded.facts.tokenizer
    model = loaded.model.eval()
    special = torch.from_numpy(loaded.facts.is_special()).to(loaded.place)
    found = []
    for text in texts:
        batch = objective.finish(_row(text, tokenizer)).tensors(loaded.place)
        scores: Any = objective.scores(objective.run(model.backbone, batch), batch)  # type: ignore[operator]
        chances = scores[batch.targets != IGNORE].float().masked_fill(special, -torch.inf).softmax(-1)
        best = chances.topk(min(top, chances.shape[-1]))
        names = tokenizer.pieces.tokens
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        found.append(Filled(text, [[(names[i], p) for i, p in zip(*pair, strict=True)] for pair in pairs]))
    return found


def _row(text: str, tokenizer: Any) -> Batch:
    pieces = text.split(MASK)
    if len(pieces) < 2:
        raise InputError(f"{text!r}: nothing is hidden in this text\n  next: write {MASK} where a word is missing")
    front, back = (([role_id(tokenizer, r)] if r in tokenizer.special else []) for r in ("cls", "sep"))
    ids = np.concatenate([front, *_joined(tokenizer.encode_batch(pieces), role_id(tokenizer, "mask")), back])
    labels = np.where(ids == tokenizer.special["mask"], 0, IGNORE)
    return Batch(ids=ids.astype(np.int64)[None], labels=labels.astype(np.int64)[None])


def _joined(parts: Sequence[np.ndarray], mask: int) -> list[np.ndarray]:
    between = [np.array([mask])] * len(parts)
    return [x for pair in zip(parts, between, strict=True) for x in pair][:-1]
