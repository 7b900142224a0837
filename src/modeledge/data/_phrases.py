"""Which words of a pair of sentences translate each other, and which phrases: learnt from the pairs alone.

Sources: IBM model 1 by expectation maximisation, Brown et al., Computational Linguistics 19(2), 1993, in both
directions; the phrases of a pair that fit its alignment, Koehn et al., NAACL 2003 §4.1. Words are aligned one to one,
where each is the other's best. Not here: which phrases change their language (sources/code_switched.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from modeledge.data._kept import Piece
from modeledge.data.store import Store

LEARNT_FROM = 100_000
"""Pairs the translations of words are learnt from, at most: every so many of the store's."""
ROUNDS = 8
LEAST = 0.01
"""Words that translate each other worse than so are not aligned."""
_AT_ONCE = 1 << 22  # words crossed with each other in memory


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
    """How well two words translate each other: p(other | one) p(one | other), by model 1 with a word for nothing.

    learnt: what `learn` found of the same words, if that is known already."""

    def __init__(self, one: Words, two: Words, learnt: Piece | None = None):
        self.known = [np.unique(words.said) for words in (one, two)]
        if learnt is None:
            (learnt,) = learn(one, two)
        self.keys, self.score = learnt["keys"], learnt["score"]

    def links(self, one: Words, two: Words) -> Int[np.ndarray, " w"]:
        """The word of `two` that translates each word of `one`, -1 where there is none; no word is used twice.

        Of equally good words the one that stands where this one stands is the better."""
        return np.concatenate([np.zeros(0, np.int64), *(piece["links"] for piece in self.linked(one, two))])

    def linked(self, one: Words, two: Words) -> Iterator[Piece]:
        """The links in pieces of whole pairs."""
        share, other_share = _share(one), _share(two)
        for pairs in _pieces(one, two, np.arange(len(one.first) - 1)):
            i, j = cross(one, two, pairs)
            key, known = numbered(self.known, one.said[i], two.said[j])
            at = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
            score = np.where(known & (self.keys[at] == key), self.score[at], 0.0)
            score *= np.exp(-np.abs(share[i] - other_share[j]))
            first, end = one.first[pairs[0]], one.first[pairs[-1] + 1]
            nth, other = i - first, j - two.first[pairs[0]]  # among the words of these pairs
            best, best_other = np.zeros(end - first), np.zeros(two.first[pairs[-1] + 1] - two.first[pairs[0]])
            np.maximum.at(best, nth, score)
            np.maximum.at(best_other, other, score)
            mutual = np.flatnonzero((score >= LEAST) & (score == best[nth]) & (score == best_other[other]))
            mutual = mutual[np.unique(i[mutual], return_index=True)[1]]
            mutual = mutual[np.unique(j[mutual], return_index=True)[1]]
            out = np.full(end - first, -1)
            out[nth[mutual]] = j[mutual]
            yield {"links": out}


def learn(one: Words, two: Words) -> Iterator[Piece]:
    """The kinds of pairs of words that stand in a pair of sentences (their numbers, rising) and how well they translate
    each other. Pairs are crossed a few at a time, in every round anew."""
    told = [np.unique(words.said, return_counts=True) for words in (one, two)]
    known, often = [said for said, _ in told], [counts / counts.sum() for _, counts in told]
    pairs = len(one.first) - 1
    pieces = _pieces(one, two, np.arange(0, pairs, -(-pairs // LEARNT_FROM)))

    def numbers(piece: np.ndarray) -> np.ndarray:
        i, j = cross(one, two, piece)
        return numbered(known, one.said[i], two.said[j])[0]

    keys = _distinct(np.concatenate([_distinct(numbers(piece)) for piece in pieces]))
    codes = [np.searchsorted(keys, numbers(piece)).astype(np.int32) for piece in pieces]
    e, f = np.divmod(keys, len(known[1]))
    there, back = np.full(len(keys), 1 / len(known[1])), np.full(len(keys), 1 / len(known[0]))
    for _ in range(ROUNDS):
        sums = np.zeros((2, len(keys)))
        for piece, code in zip(pieces, codes, strict=True):
            i, j = cross(one, two, piece)
            made = _explained(there[code], j - two.first[piece[0]], often[1][f[code]])
            sums[0] += np.bincount(code, made, len(keys))
            made = _explained(back[code], i - one.first[piece[0]], often[0][e[code]])
            sums[1] += np.bincount(code, made, len(keys))
        there, back = sums[0] / np.bincount(e, sums[0])[e], sums[1] / np.bincount(f, sums[1])[f]
    yield {"keys": keys, "score": there * back}


def _distinct(numbers: np.ndarray) -> np.ndarray:
    """The different numbers, rising; by sorting, which for millions is faster than numpy's table of hashes."""
    numbers = np.sort(numbers)
    return numbers[np.append(True, numbers[1:] != numbers[:-1])] if len(numbers) else numbers


def _explained(p: np.ndarray, word: np.ndarray, nothing: np.ndarray) -> np.ndarray:
    """How much of each occurrence `word` each crossing explains; the word for nothing explains the rest."""
    return p / (np.bincount(word, p)[word] + nothing)


def numbered(known: Sequence[np.ndarray], said: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each pair of words, and whether both are known."""
    found, both = [], np.ones(len(said), bool)
    for table, words in zip(known, (said, other), strict=True):
        at = np.minimum(np.searchsorted(table, words), len(table) - 1)
        both &= table[at] == words
        found.append(at)
    return found[0] * len(known[1]) + found[1], both


def _pieces(one: Words, two: Words, pairs: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " p"]]:
    """These pairs in pieces whose words make about `_AT_ONCE` crossings."""
    crossings = np.cumsum(np.diff(one.first)[pairs] * np.diff(two.first)[pairs])
    cuts = np.searchsorted(crossings, np.arange(_AT_ONCE, int(crossings[-1]) if len(pairs) else 0, _AT_ONCE))
    return [piece for piece in np.split(pairs, np.unique(cuts)) if len(piece)]


def cross(one: Words, two: Words, pairs: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """Every word of one side of these pairs with every word of the other: their numbers, by the first side's order."""
    wide = np.diff(two.first)[pairs]
    size = np.diff(one.first)[pairs] * wide
    owner = np.repeat(np.arange(len(pairs)), size)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size)
    nth, other = np.divmod(within, wide[owner])
    return one.first[pairs][owner] + nth, two.first[pairs][owner] + other


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
