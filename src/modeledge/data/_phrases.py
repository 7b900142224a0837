"""Which words of a pair of sentences translate each other, and which phrases: learnt from the pairs alone.

Sources: IBM model 1 by expectation maximisation, Brown et al., Computational Linguistics 19(2), 1993, in both
directions; the phrases of a pair that fit its alignment, Koehn et al., NAACL 2003 §4.1. Words are aligned one to one,
where each is the other's best. Not here: which phrases change their language (sources/code_switched.py)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from modeledge.data.store import Store

LEARNT_FROM = 100_000
"""Pairs the translations of words are learnt from, at most: every so many of the store's."""
ROUNDS = 8
LEAST = 0.01
"""Words that translate each other worse than so are not aligned."""
_AT_ONCE = 20_000  # pairs whose words are crossed with each other in memory


class Words(NamedTuple):
    """The words of one side of all pairs: what each says (a hash of its tokens), where its tokens begin in the column
    (and, last, where they end), and the first word of each pair (and the end)."""

    said: np.ndarray
    begins: Int[np.ndarray, " w"]
    first: Int[np.ndarray, " n"]


class Phrases(NamedTuple):
    """Pieces of sentences and what they are in the other language: words begin ... end of the side that is read, words
    other_begin ... other_end of the other, all counted from the first of the column; first: of each pair."""

    begin: Int[np.ndarray, " k"]
    end: Int[np.ndarray, " k"]
    other_begin: Int[np.ndarray, " k"]
    other_end: Int[np.ndarray, " k"]
    first: Int[np.ndarray, " n"]


def words_of(store: Store, side: str) -> Words:
    """The words of the column `side` (tokens or second) of a store of pairs."""
    tokens, offsets = np.asarray(store[side]), np.asarray(store.offsets(side))
    starts = np.array(store["word_starts" if side == "tokens" else f"{side}_word_starts"])
    starts[offsets[:-1]] = True
    begins = np.append(np.flatnonzero(starts), len(tokens))
    place = (np.arange(len(tokens)) - np.repeat(begins[:-1], np.diff(begins))).astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * (np.uint64(2) * place + np.uint64(0xBF58476D1CE4E5B9))
        said = np.add.reduceat(mixed, begins[:-1])
    return Words(said, begins, np.searchsorted(begins, offsets))


class Lexicon:
    """How well two words translate each other: p(other | one) p(one | other), by model 1 with a word for nothing."""

    def __init__(self, one: Words, two: Words):
        told = [np.unique(words.said, return_counts=True) for words in (one, two)]
        self.known, often = [said for said, _ in told], [counts / counts.sum() for _, counts in told]
        pairs = len(one.first) - 1
        i, j = cross(one, two, np.arange(0, pairs, -(-pairs // LEARNT_FROM)))
        self.keys, code = np.unique(self._key(one.said[i], two.said[j])[0], return_inverse=True)
        e, f = np.divmod(self.keys, len(self.known[1]))
        self.score = _expect(code, e, f, j, often[1]) * _expect(code, f, e, i, often[0])

    def _key(self, said: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The number of each pair of words, and whether both are known."""
        found, known = [], np.ones(len(said), bool)
        for table, words in zip(self.known, (said, other), strict=True):
            at = np.minimum(np.searchsorted(table, words), len(table) - 1)
            known &= table[at] == words
            found.append(at)
        return found[0] * len(self.known[1]) + found[1], known

    def links(self, one: Words, two: Words) -> Int[np.ndarray, " w"]:
        """The word of `two` that translates each word of `one`, -1 where there is none; no word is used twice.

        Of equally good words the one that stands where this one stands is the better."""
        out = np.full(len(one.said), -1)
        for low in range(0, len(one.first) - 1, _AT_ONCE):
            i, j = cross(one, two, np.arange(low, min(low + _AT_ONCE, len(one.first) - 1)))
            key, known = self._key(one.said[i], two.said[j])
            at = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
            score = np.where(known & (self.keys[at] == key), self.score[at], 0.0)
            score *= np.exp(-np.abs(_share(one)[i] - _share(two)[j]))
            best, best_other = np.zeros(len(one.said)), np.zeros(len(two.said))
            np.maximum.at(best, i, score)
            np.maximum.at(best_other, j, score)
            mutual = np.flatnonzero((score >= LEAST) & (score == best[i]) & (score == best_other[j]))
            mutual = mutual[np.unique(i[mutual], return_index=True)[1]]
            mutual = mutual[np.unique(j[mutual], return_index=True)[1]]
            out[i[mutual]] = j[mutual]
        return out


def cross(one: Words, two: Words, pairs: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """Every word of one side of these pairs with every word of the other: their numbers, by the first side's order."""
    wide = np.diff(two.first)[pairs]
    size = np.diff(one.first)[pairs] * wide
    owner = np.repeat(np.arange(len(pairs)), size)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size)
    nth, other = np.divmod(within, wide[owner])
    return one.first[pairs][owner] + nth, two.first[pairs][owner] + other


def _expect(
    code: np.ndarray, given: np.ndarray, made: np.ndarray, word: np.ndarray, often: Float[np.ndarray, " v"]
) -> Float[np.ndarray, " k"]:
    """p(made | given) of each kind of pair `code`. word: the occurrence that each crossing explains; often: the share
    of each word made, which is how the word for nothing makes it."""
    nothing = often[made][code]
    p = np.full(len(given), 1 / len(often))
    for _ in range(ROUNDS):
        here = p[code]
        counts = np.bincount(code, here / (np.bincount(word, here)[word] + nothing))
        p = counts / np.bincount(given, counts)[given]
    return p


def _share(words: Words) -> Float[np.ndarray, " w"]:
    """How far into its sentence each word stands, 0 to 1."""
    n = np.diff(words.first)
    return (np.arange(len(words.said)) - np.repeat(words.first[:-1], n)) / np.repeat(n, n)


def phrases_of(words: Words, links: Int[np.ndarray, " w"], others: int, *, longest: int) -> Phrases:
    """Every phrase of up to `longest` words of one side that fits the alignment: it begins and ends with aligned words,
    and no word outside it is aligned to a word between the outermost of its translations.

    others: words of the other side's column."""
    n = len(links)
    aligned = links >= 0
    before = np.concatenate([[0], np.cumsum(aligned)])
    used = np.zeros(others + 1, np.int64)
    used[links[aligned] + 1] = 1
    used = np.cumsum(used)
    stop = np.repeat(words.first[1:], np.diff(words.first))  # the end of each word's sentence
    low, high = np.where(aligned, links, others), links
    found = []
    for size in range(1, longest + 1):
        begin = np.flatnonzero(aligned[: max(n - size + 1, 0)])
        begin = begin[(begin + size <= stop[begin]) & aligned[begin + size - 1]]
        fits = used[high[begin] + 1] - used[low[begin]] == before[begin + size] - before[begin]
        begin = begin[fits]
        found.append(np.stack([begin, begin + size, low[begin], high[begin] + 1]))
        last = np.minimum(np.arange(n) + size, n - 1)  # the word that joins next
        low = np.minimum(low, np.where(aligned[last], links[last], others))
        high = np.maximum(high, links[last])
    rows = np.concatenate(found, axis=1)
    rows = rows[:, np.lexsort((rows[1], rows[0]))]
    begin, end, other_begin, other_end = rows
    return Phrases(begin, end, other_begin, other_end, np.searchsorted(begin, words.first))
