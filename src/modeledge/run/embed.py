"""Texts as vectors: the mean of a model's last states, or its pooled state. No training is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from modeledge.core import Batch, InputError, unknown
from modeledge.objectives import own_document
from modeledge.run.keep import Loaded, load_model
from modeledge.visibility import see
from modeledge.visibility.full import full


@torch.no_grad()
def embed(
    model: str | Path | Loaded,
    texts: Sequence[str],
    *,
    pool: Literal["mean", "first", "pooled"] = "mean",
    normalise: bool = True,
    length: int = 256,
    batch: int = 32,
    lang: int | None = None,
) -> Float[np.ndarray, "n d"]:
    """One vector a text, in the order given; longer texts are cut to `length` tokens.

    mean: of all tokens, [cls] and [sep] included (as sentence-transformers); first: the first token; pooled: what the
    architecture defines; lang: the number of their language, for a model that is told it. Of a model of words that
    spells those it does not know (fastText), the mean of a text's words. Raises InputError for a model without a
    tokenizer."""
    loaded = model if isinstance(model, Loaded) else load_model(Path(model))
    if loaded.facts.tokenizer is None:
        raise InputError(f"{loaded.path}: this model has no tokenizer, it reads no text")
    if hasattr(loaded.model.backbone, "spell"):
        return means_of_words(loaded, texts, normalise=normalise)
    encoded = loaded.facts.tokenizer.encode_batch(list(texts))
    order = np.argsort([-len(e) for e in encoded], kind="stable")  # texts of like length share a batch
    out: np.ndarray | None = None
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        rows = framed([encoded[i] for i in chosen], loaded, length).tensors(loaded.place)
        if lang is not None:
            rows = rows.but(lang=torch.full_like(rows.ids, lang))
        seen = see(own_document(rows, full), *rows.ids.shape, device=loaded.place)
        found = loaded.model.backbone(rows, seen)
        if pool == "pooled":
            if found.pooled is None:
                raise InputError(f"{loaded.path}: this model has no pooled state\n  next: pool='mean' or 'first'")
            vectors = found.pooled
        elif pool == "first":
            vectors = found.states[:, 0]
        elif pool != "mean":
            raise InputError(unknown("pool", "way to pool", pool, ("mean", "first", "pooled")))
        else:
            share = rows.valid[..., None].float()
            vectors = (found.states * share).sum(1) / share.sum(1)
        if normalise:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        if out is None:
            out = np.empty((len(texts), vectors.shape[-1]), np.float32)
        out[chosen] = vectors.float().cpu().numpy()
    return out if out is not None else np.empty((0, 0), np.float32)


@torch.no_grad()
def means_of_words(loaded: Loaded, texts: Sequence[str], *, normalise: bool = True) -> Float[np.ndarray, "n d"]:
    """The mean of each text's words, those outside the vocabulary as their n-grams spell them; zeros without words."""
    tokenizer, backbone = loaded.facts.tokenizer, loaded.model.backbone
    normal, unknown_word = tokenizer.inner.normalizer, loaded.facts.special["unk"]
    encoded = tokenizer.encode_spans(list(texts))
    ids = np.concatenate([np.zeros(0, np.int64), *(e.ids for e in encoded)]).astype(np.int64)
    said = [text[a:b] for text, e in zip(texts, encoded, strict=True) for a, b in e.spans.tolist()]
    vectors: torch.Tensor = backbone.of(torch.from_numpy(ids).to(loaded.place))  # type: ignore[operator]
    new = np.flatnonzero(ids == unknown_word)
    if len(new):
        spelt = [normal.normalize_str(said[i]) if normal else said[i] for i in new]
        vectors[torch.from_numpy(new).to(vectors.device)] = backbone.spell(spelt)  # type: ignore[operator]
    sizes = torch.tensor([len(e.ids) for e in encoded], device=vectors.device)
    owner = torch.arange(len(encoded), device=vectors.device).repeat_interleave(sizes)
    sums = vectors.new_zeros(len(encoded), vectors.shape[1]).index_add_(0, owner, vectors)
    means = sums / sizes.clamp(min=1)[:, None]
    return (torch.nn.functional.normalize(means, dim=-1) if normalise else means).cpu().numpy()


def framed(encoded: list[np.ndarray], loaded: Loaded, length: int) -> Batch:
    """[cls] text [sep], padded to the longest, as tensors; where the tokenizer has neither, the text alone."""
    special = loaded.facts.special
    head, tail = [special[r] for r in ("cls",) if r in special], [special[r] for r in ("sep",) if r in special]
    room = length - len(head) - len(tail)
    rows = [[*head, *e[:room].tolist(), *tail] for e in encoded]
    widest = max(map(len, rows))
    ids = np.full((len(rows), widest), loaded.facts.pad, np.int64)
    valid = np.zeros((len(rows), widest), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)], valid[i, : len(row)] = row, True
    return Batch(ids=ids, valid=valid).tensors()
