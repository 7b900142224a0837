"""Near-duplicate documents, found in one pass and in fixed memory.

MinHash by one permutation (Li et al., arXiv:1208.1259): the hashes of a document's 5-token shingles fall into 32 bins,
each bin keeps its smallest; the share of equal bins estimates the Jaccard similarity. Candidates share a band of 4
bins; a document is compared with the last 262,144 distinct ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

BINS, BANDS, SHINGLE = 32, 8, 5
ALIKE = 0.8
_EMPTY = np.uint32(0xFFFFFFFF)
_KEEP, _SLOTS = 1 << 18, 1 << 19
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Signatures(NamedTuple):
    """bins uint32 [n, 32] and band keys uint64 [n, 8] (0: nothing to compare) of n documents."""

    bins: np.ndarray
    keys: np.ndarray


def signatures(ids: Int[np.ndarray, " t"], lengths: Int[np.ndarray, " n"]) -> Signatures:
    """Signatures of documents given as one row of token ids. A document shorter than a shingle is one shingle."""
    n = len(lengths)
    document = np.repeat(np.arange(n), lengths)
    ends = np.cumsum(lengths)
    place = np.arange(len(ids))
    with np.errstate(over="ignore"):
        mixed = _mix(ids.astype(np.uint64) + np.uint64(1))
        whole = np.zeros(len(ids), np.uint64)
        for step in range(SHINGLE):
            inside = place + step < ends[document]
            part = np.where(inside, mixed[np.minimum(place + step, len(ids) - 1)], np.uint64(0))
            whole = whole * np.uint64(0x100000001B3) + part
        whole = _mix(whole)
        # shingles that reach over the end say nothing new, except the only one of a short document
        take = (place + SHINGLE <= ends[document]) | (place == ends[document] - lengths[document])
        bins = np.full((n, BINS), _EMPTY)
        at = document[take] * BINS + (whole[take] >> np.uint64(59)).astype(np.int64)
        np.minimum.at(bins.reshape(-1), at, (whole[take] & np.uint64(0xFFFFFFFE)).astype(np.uint32))
        bands = bins.reshape(n, BANDS, BINS // BANDS).astype(np.uint64)
        keys = np.zeros((n, BANDS), np.uint64)
        for step in range(bands.shape[2]):
            keys = _mix(keys * np.uint64(0x100000001B3) + bands[:, :, step])
        keys = _mix(keys + np.arange(1, BANDS + 1, dtype=np.uint64))
    keys[(bands == _EMPTY).all(axis=2)] = 0
    return Signatures(bins, keys)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(31))) * _ODD
    x = (x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return x ^ (x >> np.uint64(32))


class NearDuplicates:
    """Which documents resemble an earlier one. Feed it documents in their order."""

    def __init__(self) -> None:
        self.bins = np.full((_KEEP, BINS), _EMPTY)
        self.side = np.zeros(_KEEP, bool)
        self.slots = np.full((BANDS, _SLOTS), -1, np.int32)
        self.kept = 0

    def find(self, made: Signatures, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each new document whether it resembles an earlier one, and its side of the hold-out split: its own
        (`side`) or that of the document it resembles. Documents that resemble none are remembered."""
        n = len(made.bins)
        slot = (made.keys & np.uint64(_SLOTS - 1)).astype(np.int64)
        old = np.where(made.keys > 0, self.slots[np.arange(BANDS), slot], -1)  # n bands
        near_old = self._alike(made.bins[:, None], self.bins[np.maximum(old, 0)]) & (old >= 0)
        new = np.stack([_first_equal(made.keys[:, band]) for band in range(BANDS)], axis=1)
        earlier = (new < np.arange(n)[:, None]) & (made.keys > 0)
        near_new = self._alike(made.bins[:, None], made.bins[new]) & earlier
        is_near = np.logical_or(near_old.any(1), near_new.any(1))
        side = side.copy()
        for one in np.flatnonzero(is_near):  # few, and in order, since one may resemble another of this call
            if near_old[one].any():
                side[one] = self.side[old[one, near_old[one].argmax()]]
            else:
                side[one] = side[new[one, near_new[one].argmax()]]
        self._remember(made.bins[~is_near], slot[~is_near], made.keys[~is_near], side[~is_near])
        return is_near, side

    def _remember(self, bins: np.ndarray, slot: np.ndarray, keys: np.ndarray, side: np.ndarray) -> None:
        at = (self.kept + np.arange(len(bins))) % _KEEP
        self.bins[at], self.side[at] = bins, side
        for band in range(BANDS):
            real = keys[:, band] > 0
            self.slots[band, slot[real, band]] = at[real]
        self.kept += len(bins)

    @staticmethod
    def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        filled = (one != _EMPTY) | (other != _EMPTY)
        equal = (one == other) & filled
        return equal.sum(-1) >= ALIKE * np.maximum(filled.sum(-1), 1)


def _first_equal(keys: np.ndarray) -> np.ndarray:
    """For each element the place of the first element equal to it."""
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return first[which]
