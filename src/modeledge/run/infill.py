"""Fill the blanks of a text with as many tokens as each needs, by a model that was pre-trained to do so.

Source: GLM, arXiv:2103.10360 §2.1. Not here: models that fill one token a place (fill.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from modeledge.core import Batch, InputError
from modeledge.objectives import Objective
from modeledge.run.fill import MASK
from modeledge.run.generate import GREEDY, generate
from modeledge.run.keep import Loaded, load_model
from modeledge.run.search import Beam, Greedy, Sample
from modeledge.tokenizers import role_id


def infill(
    folder: str | Path | Loaded,
    texts: Sequence[str],
    how: Greedy | Sample | Beam = GREEDY,
    *,
    limit: int = 20,
    seed: int = 0,
) -> list[list[str]]:
    """What each [MASK] of each text stands for, at most `limit` tokens; from left to right, each knowing those before.

    Raises InputError for a text without [MASK] and for a model that does not fill blanks."""
    loaded = folder if isinstance(folder, Loaded) else load_model(Path(folder))
    objective, tokenizer = blank_filler(loaded), loaded.facts.tokenizer
    mask, rng = role_id(tokenizer, "mask"), torch.Generator(loaded.place).manual_seed(seed)
    frame = tokenizer.frame()
    found = []
    for text in texts:
        pieces = text.split(MASK)
        if len(pieces) < 2:
            raise InputError(
                f"{text!r}: nothing is hidden in this text\n  next: write {MASK} where something is missing"
            )
        known, *rest = (ids.tolist() for ids in tokenizer.encode_batch(pieces))
        known, filled = [*frame.before, *known], []
        for number, piece in enumerate(rest):
            behind = [i for p in rest[number + 1 :] for i in (mask, *p)]
            ids = torch.tensor([[*known, mask, *piece, *behind, *frame.after]])
            read = Batch(ids=ids).tensors(loaded.place)
            said = generate(loaded.model.backbone, objective, read, how, limit=limit, rng=rng)[0].tolist()
            said = said[: said.index(objective.end)] if objective.end in said else said  # type: ignore[operator]
            filled.append(tokenizer.decode(np.array(said, np.int64)))
            known += [*said, *piece]
        found.append(filled)
    return found


def blank_filler(loaded: Loaded) -> Objective:
    """The objective that fills blanks. Raises InputError for a model that has none."""
    for _, objective in loaded.model.each():
        if objective.config.kind == "infill":
            return objective
    kinds = ", ".join(o.config.kind for _, o in loaded.model.each())
    raise InputError(
        f"{loaded.path}: this model was trained for {kinds}, not to fill blanks (infill)\n"
        "  next: a model pre-trained from a recipe like glm"
    )
