"""Find the captions of a picture and the picture of a caption: recall at k and the median rank, both ways.

A picture may have several captions: looking for captions is a hit if any of its own is found; looking for the picture
has one right answer. Equal similarities are taken to stand in random order and the *expected* value is returned, so
that a model that says the same of everything gets exactly what chance gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

RANKS = (1, 5, 10)


def retrieval(
    images: Float[Tensor, "n d"],
    texts: Float[Tensor, "m d"],
    image_of: Int[np.ndarray, " m"],
    *,
    ranks: Sequence[int] = RANKS,
    chunk: int = 1024,
) -> dict[str, dict[str, float]]:
    """`image_to_text` and `text_to_image`, each with recall@k for k in `ranks`, median_rank, n (queries) and keys.

    The vectors are compared by their dot product (give unit vectors for cosines); `image_of` says which picture each
    text belongs to. Pictures without a text are searched among but ask for nothing."""
    owner = torch.as_tensor(image_of).long()
    asked = torch.unique(owner)
    forth = [_search(images[q] @ texts.T, owner[None, :] == q[:, None]) for q in asked.split(chunk)]
    place = torch.arange(len(images))
    back = [
        _search(t @ images.T, place[None, :] == o[:, None])
        for t, o in zip(texts.split(chunk), owner.split(chunk), strict=True)
    ]
    return {"image_to_text": _table(forth, len(texts), ranks), "text_to_image": _table(back, len(images), ranks)}


def retrieval_of_pairs(
    images: Float[Tensor, "m d"],
    texts: Float[Tensor, "m d"],
    picture: Int[np.ndarray, " m"],
    *,
    ranks: Sequence[int] = RANKS,
) -> dict[str, dict[str, float]]:
    """`retrieval` where each row is a picture and one of its texts; equal numbers in `picture` are one picture."""
    _, first, image_of = np.unique(picture, return_index=True, return_inverse=True)
    return retrieval(images[torch.from_numpy(first)], texts, image_of.reshape(-1), ranks=ranks)


def recall(
    scores: Float[Tensor, "q n"], right: Bool[Tensor, "q n"], *, ranks: Sequence[int] = RANKS
) -> dict[str, float]:
    """recall@k for k in `ranks`, median_rank, n and keys, from the score of every key for every query.

    A query is a hit at k if one of its right keys, of which it must have one, is among the first k."""
    return _table([_search(scores, right)], scores.shape[1], ranks)


def _search(scores: Float[Tensor, "q n"], right: Bool[Tensor, "q n"]) -> Int[Tensor, "q 3"]:
    """For each query: how many wrong keys score above its best right one, how many wrong and how many right ones
    score the same as it."""
    best = scores.masked_fill(~right, float("-inf")).amax(1, keepdim=True)
    above = ((scores > best) & ~right).sum(1)
    level = scores == best
    return torch.stack([above, (level & ~right).sum(1), (level & right).sum(1)], dim=1)


def _table(found: list[Tensor], keys: int, ranks: Sequence[int]) -> dict[str, float]:
    above, wrong, right = torch.cat(found).double().T
    out = {}
    for k in ranks:
        out[f"recall@{k}"] = float(_hit(above, wrong, right, k).mean())
    out["median_rank"] = float((above + 1 + wrong / (right + 1)).quantile(0.5))
    return out | {"n": float(len(above)), "keys": float(keys)}


def _hit(above: Tensor, wrong: Tensor, right: Tensor, k: int) -> Tensor:
    """The probability that one of `right` level keys is among the first k, behind `above` keys, in a random order of
    the level ones: 1 minus that of drawing only wrong ones."""
    miss = torch.ones_like(above)
    for place in range(k):
        free = place >= above  # this place goes to one of the level keys
        drawn = (place - above).clamp(min=0)
        left = (wrong - drawn).clamp(min=0)
        miss = torch.where(free, miss * left / (wrong + right - drawn).clamp(min=1), miss)
    return 1 - miss
