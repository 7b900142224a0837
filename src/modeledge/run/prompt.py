"""Texts continued by a causal language model that was taught nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from modeledge.core import Batch, InputError
from modeledge.run.generate import generate
from modeledge.run.keep import Loaded, load_model
from modeledge.run.search import Beam, Greedy, Sample

GREEDY = Greedy()


def continues_text(loaded: Loaded) -> bool:
    """Whether the model is a pre-trained causal language model, to be prompted rather than asked."""
    return any(config.kind == "clm" for config in loaded.recipe.objectives) and len(loaded.recipe.objectives) == 1


def continue_texts(
    model: str | Path | Loaded,
    prompts: Sequence[str],
    how: Greedy | Sample | Beam = GREEDY,
    *,
    limit: int = 40,
    seed: int = 0,
) -> list[dict[str, str]]:
    """[{"prompt": ..., "continuation": ...}], at most `limit` tokens each. The same seed samples the same text.

    Raises InputError for an empty prompt and for a model that does not write left to right."""
    loaded = model if isinstance(model, Loaded) else load_model(Path(model))
    if not continues_text(loaded) or loaded.facts.tokenizer is None:
        raise InputError(f"{loaded.path}: not a causal language model, it cannot go on with a text")
    encoded = loaded.facts.tokenizer.encode_batch(list(prompts))
    for prompt, ids in zip(prompts, encoded, strict=True):
        if not len(ids):
            raise InputError(f"--text {prompt!r}: a prompt needs at least one token")
    widest = max(map(len, encoded))
    ids = np.full((len(encoded), widest), loaded.facts.pad, np.int64)
    valid = np.zeros(ids.shape, bool)
    for row, tokens in enumerate(encoded):
        ids[row, widest - len(tokens) :], valid[row, widest - len(tokens) :] = tokens, True
    batch = Batch(ids=ids) if valid.all() else Batch(ids=ids, valid=valid)
    objective = next(o for _, o in loaded.model.each())
    rng = torch.Generator(loaded.place).manual_seed(seed)
    written = generate(loaded.model.backbone, objective, batch.tensors(loaded.place), how, limit=limit, rng=rng)
    texts = [loaded.facts.tokenizer.decode(row.tolist()) for row in written]
    return [{"prompt": p, "continuation": t} for p, t in zip(prompts, texts, strict=True)]
