"""Which sentences of a text say most about the rest: those a summary would hold.

Source: PEGASUS, arXiv:1912.08777 §3.1: ROUGE-1 F of a sentence (or of all chosen so far and it) against the sentences
that are left. Here a unigram is a token, not a word, and nothing is stemmed. Not here: masks for single tokens
(mask.py)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from modeledge.views.corrupt.mask import choose_exactly

Strategy = Literal["random", "lead", "ind_orig", "ind_uniq", "seq_orig", "seq_uniq"]
"""ind: every sentence by itself; seq: one after the other, each with those before; orig: n-grams counted as often as
they occur; uniq: once."""


def count_tokens(ids: Int[np.ndarray, "b t"], sentence: Int[np.ndarray, "b t"]) -> Int[np.ndarray, "b s w"]:
    """How often each sentence (-1: none) has each of its row's own distinct tokens."""
    b = len(ids)
    row, column = np.nonzero(sentence >= 0)
    key = row * (int(ids.max(initial=0)) + 1) + ids[row, column]
    found, code = np.unique(key, return_inverse=True)
    owner = found // (int(ids.max(initial=0)) + 1)
    first = np.searchsorted(owner, np.arange(b))
    local = code - first[row]
    most = max(int(local.max(initial=0)) + 1, 1)
    counts = np.zeros((b, max(int(sentence.max(initial=0)) + 1, 1), most), np.int32)
    np.add.at(counts, (row, sentence[row, column], local), 1)
    return counts


def rouge(said: Int[np.ndarray, "b s w"], total: Int[np.ndarray, "b 1 w"], *, unique: bool) -> Float[np.ndarray, "b s"]:
    """ROUGE-1 F of what is said against the rest of the `total`; 0 where either is empty."""
    rest = total - said
    if unique:
        said, rest = said > 0, rest > 0
    overlap = np.minimum(said, rest).sum(-1)
    both = said.sum(-1) + rest.sum(-1)
    return 2 * overlap / np.maximum(both, 1)


def choose_gaps(
    ids: Int[np.ndarray, "b t"],
    sentence: Int[np.ndarray, "b t"],
    wanted: Int[np.ndarray, " b"],
    rng: np.random.Generator,
    *,
    strategy: Strategy,
    noise: float = 0.0,
) -> Bool[np.ndarray, "b s"]:
    """The `wanted` sentences of each row; `sentence` numbers the tokens' sentences from 0 (-1: no sentence).

    noise: scores are multiplied by a factor drawn from 1 - noise ... 1 + noise. Of equal scores the first wins."""
    order, unique = strategy.split("_") if "_" in strategy else (strategy, "")
    exists = np.arange(max(int(sentence.max(initial=0)) + 1, 1)) <= sentence.max(axis=1)[:, None]
    if order == "random":
        return choose_exactly(exists, wanted, rng)
    if order == "lead":
        return exists & (np.arange(exists.shape[1]) < wanted[:, None])
    counts = count_tokens(ids, sentence)
    total = counts.sum(axis=1, keepdims=True)
    factor = 1 + noise * (2 * rng.random(exists.shape) - 1)
    if order == "ind":
        score = np.where(exists, rouge(counts, total, unique=unique == "uniq") * factor, -1.0)
        best = np.argsort(-score, axis=1, kind="stable")
        chosen = np.zeros_like(exists)
        np.put_along_axis(chosen, best, np.arange(exists.shape[1]) < wanted[:, None], axis=1)
        return chosen & exists
    chosen, said, row = np.zeros_like(exists), np.zeros_like(total), np.arange(len(ids))
    for step in range(int(wanted.max(initial=0))):  # a few sentences, not tokens
        score = rouge(said + counts, total, unique=unique == "uniq") * factor
        best = np.where(exists & ~chosen, score, -1.0).argmax(axis=1)
        more = (step < wanted) & (exists & ~chosen).any(axis=1)
        chosen[row[more], best[more]] = True
        said[more, 0] += counts[row[more], best[more]]
    return chosen
