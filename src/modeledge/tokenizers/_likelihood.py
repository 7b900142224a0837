"""Learn word pieces by merging the two symbols whose union raises the likelihood of the corpus most.

Source: Schuster and Nakajima, ICASSP 2012, as told for WordPiece: the score of a pair is n(ab) / (n(a) n(b)), so that
symbols which seldom stand apart come first. Not here: merging by frequency, which the `tokenizers` library does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

MARK = "##"
"""What stands before a piece that continues a word."""


class Merger:
    """The words of a corpus as symbols. Counts are kept up by the words that a merge touches, never counted anew."""

    def __init__(self, counts: Mapping[str, int]):
        self.names: list[str] = []
        self.number: dict[str, int] = {}
        self.pairs: dict[tuple[int, int], int] = {}
        self.weights = list(counts.values())
        self.words = [[self._symbol(c if i == 0 else MARK + c) for i, c in enumerate(w)] for w in counts]
        self.often = np.zeros(1024 + len(self.names))  # by symbol
        self.of: list[list[int]] = [[] for _ in self.names]  # the pairs a symbol is in
        self.among: list[set[int]] = []  # by pair: the words it is in, or was
        self.left, self.right, self.together = (np.zeros(1024, np.int64) for _ in range(3))
        self.score = np.zeros(1024)
        changed: set[int] = set()
        for word in range(len(self.words)):
            self._count(word, 1, changed)
        self._rate(np.arange(len(self.pairs)))

    def merges(self, least: int) -> Iterator[str]:
        """The piece that each merge makes, as long as a pair stands at least `least` times together."""
        while len(self.pairs):
            known = slice(len(self.pairs))
            score = np.where(self.together[known] >= least, self.score[known], 0.0)
            best = np.flatnonzero(score == score.max())
            if score[best[0]] == 0:
                return
            pair = min(best.tolist(), key=lambda p: (-self.together[p], self._spelt(p)))
            yield self._merge(pair)

    def _spelt(self, pair: int) -> tuple[str, str]:
        return self.names[self.left[pair]], self.names[self.right[pair]]

    def _symbol(self, name: str) -> int:
        if name not in self.number:
            self.number[name] = len(self.names)
            self.names.append(name)
        return self.number[name]

    def _merge(self, pair: int) -> str:
        """Make the two symbols one wherever they stand together."""
        one, two = int(self.left[pair]), int(self.right[pair])
        name = self.names[one] + self.names[two].removeprefix(MARK)
        both = self._symbol(name)  # perhaps made before, of other parts
        if both == len(self.of):
            self.of.append([])
            self.often = np.pad(self.often, (0, len(self.often))) if both == len(self.often) else self.often
        changed: set[int] = set()
        for number in self.among[pair]:
            self._count(number, -1, changed)
            self.words[number] = _joined(self.words[number], one, two, both)
            self._count(number, 1, changed)
        touched = [self.of[symbol] for symbol in (one, two, both)]
        self._rate(np.unique(np.concatenate([np.array(list(pairs), np.int64) for pairs in (changed, *touched)])))
        return name

    def _count(self, number: int, sign: int, changed: set[int]) -> None:
        """Add the symbols and pairs of a word to the counts, or take them away; note the pairs."""
        symbols, weight = self.words[number], sign * self.weights[number]
        for symbol in symbols:
            self.often[symbol] += weight
        for key in pairwise(symbols):
            pair = self.pairs.get(key)
            if pair is None:
                pair = self._pair(key)
            self.together[pair] += weight
            if sign > 0:
                self.among[pair].add(number)
            changed.add(pair)

    def _pair(self, key: tuple[int, int]) -> int:
        pair = self.pairs[key] = len(self.pairs)
        if pair == len(self.left):
            for name in ("left", "right", "together", "score"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate([column, np.zeros_like(column)]))
        self.left[pair], self.right[pair] = key
        for symbol in set(key):
            self.of[symbol].append(pair)
        self.among.append(set())
        return pair

    def _rate(self, pairs: np.ndarray) -> None:
        """Score these pairs anew."""
        apart = self.often[self.left[pairs]] * self.often[self.right[pairs]]
        self.score[pairs] = np.divide(self.together[pairs], apart, out=np.zeros(len(pairs)), where=apart > 0)


def _joined(symbols: list[int], one: int, two: int, both: int) -> list[int]:
    out, i = [], 0
    while i < len(symbols):
        if symbols[i] == one and i + 1 < len(symbols) and symbols[i + 1] == two:
            out.append(both)
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def learn(counts: Mapping[str, int], *, most: int, least: int) -> list[str]:
    """At most `most` pieces that are merged of the characters of words with these counts, in the order of merging.

    Of equal scores the more frequent pair goes first, then the one that is spelt first."""
    made: dict[str, None] = {}
    for piece in Merger(counts).merges(least) if most > 0 else ():
        made[piece] = None
        if len(made) == most:
            break
    return list(made)
