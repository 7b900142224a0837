"""Pick the blocks of long texts that a question needs, by a judge that reads a row of them at a time.

Source: MemRecall of CogLTX (NeurIPS 2020) §3 and its released code: all blocks are scored a row at a time beside those
kept so far, the best fill a row, which is scored again as a whole, and the best of these are kept; then once more. Not
here: how judge and reasoner are taught (long.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from modeledge.core import InputError
from modeledge.data.sources.blocks import Blocks, Picked, Shown
from modeledge.objectives import Objective
from modeledge.run.answer import outputs
from modeledge.run.keep import Loaded, load_model
from modeledge.run.model import Model

JUDGE = "judge"
"""The judge's folder inside the reasoner's, and the objective's name that follows from its kind."""
GROWS = (3, 5)
"""How many blocks more are kept after each turn."""
Score = Callable[[Sequence[Shown]], list[Float[np.ndarray, " k"]]]


def pick(source: Blocks, shown: Sequence[Shown]) -> Blocks:
    """A source of other rows of the same texts."""
    return Blocks(source.config, Picked(source, shown), source.facts)


def judging(model: Model, source: Blocks, *, device: torch.device) -> Score:
    """How a judge scores the blocks of rows."""
    objective: Objective = next(o for _, o in model.each())

    def score(shown: Sequence[Shown]) -> list[Float[np.ndarray, " k"]]:
        raw = outputs(model, objective, pick(source, shown), device=device)
        return [row[: len(chosen)] for row, (_, chosen) in zip(raw, shown, strict=True)]

    return score


def recall(source: Blocks, score: Score, *, grows: Sequence[int] = GROWS) -> list[Shown]:
    """The blocks to read of each text, in the order of the text, together never longer than a row.

    But for the last turn, so few are kept that one more block of any size has room."""
    texts = range(len(source.blocks))
    kept = [np.zeros(0, np.int64) for _ in texts]
    known: list[int] = [0 for _ in texts]
    for turn, grow in enumerate(grows):
        last = turn == len(grows) - 1
        estimates = survey(source, score, kept)
        full = [fullest(source, t, kept[t], estimates[t]) for t in texts]
        again = score(list(zip(texts, full, strict=True)))
        for t in texts:
            spare = 0 if last else int(source.sizes(t).max())
            kept[t] = best(source, t, full[t], again[t], most=known[t] + grow, spare=spare)
            known[t] = len(kept[t])
    return list(zip(texts, kept, strict=True))


def survey(source: Blocks, score: Score, kept: Sequence[Int[np.ndarray, " k"]]) -> list[Float[np.ndarray, " n"]]:
    """The score of every block of every text, read in the order of the text beside the blocks that are kept."""
    asked, fresh = [], []
    for text, memory in enumerate(kept):
        for run in stretches(source, text, memory):
            asked.append((text, np.sort(np.append(memory, run))))
            fresh.append(run)
    found = [np.zeros(len(b)) for b in source.blocks]
    for (text, shown), run, scores in zip(asked, fresh, score(asked), strict=True):
        found[text][run] = scores[np.searchsorted(shown, run)]
    return found


def stretches(source: Blocks, text: int, memory: Int[np.ndarray, " k"]) -> list[Int[np.ndarray, " m"]]:
    """All blocks of a text but those in memory, cut into pieces for which a row has room beside them."""
    sizes = source.sizes(text)
    room = source.room(text) - int(sizes[memory].sum())
    rest = np.setdiff1d(np.arange(len(sizes)), memory)
    pieces, begin, used = [], 0, 0
    for place, size in enumerate(sizes[rest]):
        if used + size > room and place > begin:
            pieces.append(rest[begin:place])
            begin, used = place, 0
        used += int(size)
    return [*pieces, rest[begin:]] if len(rest) else []


def fullest(
    source: Blocks, text: int, memory: Int[np.ndarray, " k"], scores: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " m"]:
    """The memory, and of the other blocks the best, down to the first for which there is no room."""
    sizes = source.sizes(text)
    order = np.argsort(-scores, kind="stable")
    order = order[~np.isin(order, memory)]
    fits = np.cumsum(sizes[order]) <= source.room(text) - sizes[memory].sum()
    return np.sort(np.append(memory, order[: int(fits.sum())] if len(memory) or fits.any() else order[:1]))


def best(
    source: Blocks, text: int, shown: Int[np.ndarray, " m"], scores: Float[np.ndarray, " m"], *, most: int, spare: int
) -> Int[np.ndarray, " k"]:
    """The best of the shown blocks, at most `most` and so few that `spare` tokens stay free."""
    order = shown[np.argsort(-scores, kind="stable")][:most]
    fits = np.cumsum(source.sizes(text)[order]) <= source.room(text) - spare
    return np.sort(order[: max(1, int(fits.sum()))])


def is_judge(loaded: Loaded) -> bool:
    """Whether a model is the judge alone."""
    return loaded.recipe.objectives[0].kind == "relevance"


def judge_of(loaded: Loaded) -> Loaded:
    """The judge that belongs to a reasoner, or the model itself if it is one. Raises InputError if it is gone."""
    if is_judge(loaded):
        return loaded
    folder: Path = loaded.path / JUDGE
    if not (folder / "config.json").is_file():
        raise InputError(f"{loaded.path}: the judge that picks the blocks of long texts is missing: {folder}")
    return load_model(folder)


def remember(loaded: Loaded, source: Blocks, *, device: torch.device) -> None:
    """From now on a source shows the blocks that the model's judge has picked."""
    source.fill(recall(source, judging(judge_of(loaded).model, source, device=device)))
