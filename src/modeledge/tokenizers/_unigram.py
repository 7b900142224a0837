"""Learn the pieces of a Unigram language model, the same from the same words every time.

Source: Kudo, arXiv:1804.10959 §3.2: begin with all frequent substrings; again and again estimate their probabilities by
expectation and maximisation over all segmentations, and leave out those whose removal costs least; single characters
stay. An estimate is the expected share; the released trainer's exp(digamma(count)), which favours few pieces, is not
here. The library's own trainer adds in the order of a randomly seeded table, so its pieces differ from run to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LONGEST = 16
"""Characters of a piece, at most."""
LONGEST_WORD = 48
"""Characters of a word, at most: longer ones are cut for training."""
_SEEDS, _SHRINK, _ROUNDS, _LEAST, _FLOOR = 20, 0.75, 2, 0.5, 0.01
_BASE = np.uint64(0x100000001B3)


class Words(NamedTuple):
    """Distinct strings in a row: characters, how many characters follow each in its word (itself included), the number
    of its word, and the weight of each word."""

    codes: np.ndarray
    left: np.ndarray
    word: np.ndarray
    weights: np.ndarray


def words_of(counts: Mapping[str, float]) -> Words:
    """Strings with their weights, sorted."""
    names = sorted(counts)
    sizes = np.fromiter(map(len, names), np.int64, len(names))
    codes = np.frombuffer("".join(names).encode("utf-32-le", "surrogatepass"), np.uint32)
    ends = np.repeat(np.cumsum(sizes), sizes)
    weights = np.array([counts[n] for n in names], np.float64)
    return Words(codes, ends - np.arange(len(codes)), np.repeat(np.arange(len(names)), sizes), weights)


def _hashes(words: Words, longest: int) -> list[np.ndarray]:
    """For each length 1 ... longest the hash of the substring that begins at each character (valid if it fits)."""
    found, last = [], np.zeros(len(words.codes), np.uint64)
    with np.errstate(over="ignore"):
        for length in range(1, longest + 1):
            shifted = np.zeros_like(last)
            shifted[: max(len(last) - length + 1, 0)] = words.codes[length - 1 :]
            last = last * _BASE + shifted + np.uint64(1)
            found.append(last)
    return found


def seeds(words: Words, most: int) -> dict[str, float]:
    """Every character, and the `most` substrings of two or more with the largest frequency times length (at least
    twice)."""
    found: list[tuple[float, str]] = []
    at, hashes = np.arange(len(words.codes)), _hashes(words, LONGEST)
    for length in range(1, LONGEST + 1):
        at = at[words.left[at] >= length]
        if not len(at):
            break
        _, first, which = np.unique(hashes[length - 1][at], return_index=True, return_inverse=True)
        frequency = np.bincount(which, words.weights[words.word[at]])
        often = (frequency >= 2) | (length == 1)
        for place, n in zip(at[first[often]].tolist(), frequency[often].tolist(), strict=True):
            text = words.codes[place : place + length].tobytes().decode("utf-32-le", "surrogatepass")
            found.append((n * length, text))
        at = at[often[which]]
    letters = {text: score for score, text in found if len(text) == 1}
    longer = sorted(((s, t) for s, t in found if len(t) > 1), key=lambda pair: (-pair[0], pair[1]))
    return letters | {text: score for score, text in longer[:most]}


@dataclass
class Lattice:
    """All ways to cut words into pieces. A word of n characters has n + 1 nodes, each piece that fits is an edge.

    Edges are sorted by how far into the word they end; `back` sorts them by how far they begin, the farthest first."""

    begin: np.ndarray
    end: np.ndarray
    piece: np.ndarray
    begin_place: np.ndarray
    end_place: np.ndarray
    word: np.ndarray
    back: np.ndarray
    nodes: int
    first: np.ndarray
    last: np.ndarray

    def __post_init__(self) -> None:
        self.ahead = _steps(self.end_place, self.end)
        self.behind = _steps(self.begin_place[self.back], self.begin[self.back])

    def keep(self, alive: np.ndarray) -> Lattice:
        """Without the edges of pieces that are not alive (bool by piece); pieces are numbered anew."""
        edges = alive[self.piece]
        back = (np.cumsum(edges) - 1)[self.back[edges[self.back]]]
        piece = (np.cumsum(alive) - 1)[self.piece[edges]]
        ends, places = (self.begin[edges], self.end[edges]), (self.begin_place[edges], self.end_place[edges])
        return Lattice(*ends, piece, *places, self.word[edges], back, self.nodes, self.first, self.last)

    def forward(self, score: np.ndarray) -> np.ndarray:
        """Log of the summed probability of all ways from a word's first node to each node."""
        alpha = np.full(self.nodes, -np.inf)
        alpha[self.first] = 0
        own = score[self.piece]
        for lo, hi, starts, node in self.ahead:
            alpha[node] = _log_sums(alpha[self.begin[lo:hi]] + own[lo:hi], starts)
        return alpha

    def backward(self, score: np.ndarray) -> np.ndarray:
        """The same from each node to the word's last."""
        beta = np.full(self.nodes, -np.inf)
        beta[self.last] = 0
        end, own = self.end[self.back], score[self.piece[self.back]]
        for lo, hi, starts, node in self.behind:
            beta[node] = _log_sums(beta[end[lo:hi]] + own[lo:hi], starts)
        return beta

    def best(self, score: np.ndarray) -> np.ndarray:
        """Log-probability of the best way through each word; -inf where there is none."""
        top = np.full(self.nodes, -np.inf)
        top[self.first] = 0
        own = score[self.piece]
        for lo, hi, starts, node in self.ahead:
            top[node] = np.maximum.reduceat(top[self.begin[lo:hi]] + own[lo:hi], starts)
        return top[self.last]

    def expected(self, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """How often each piece is expected to be used, over all ways to cut all words."""
        alpha, beta = self.forward(score), self.backward(score)
        share = alpha[self.begin] + score[self.piece] + beta[self.end] - alpha[self.last][self.word]
        return np.bincount(self.piece, weights[self.word] * np.exp(share), len(score))


def _steps(place: np.ndarray, node: np.ndarray) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
    """Edges sorted by place and node: for each place their range, where in it each node's edges begin, these nodes."""
    if not len(place):
        return []
    changes = np.flatnonzero(np.append(True, node[1:] != node[:-1]))
    bounds = np.append(np.flatnonzero(np.append(True, place[1:] != place[:-1])), len(place))
    inside = np.searchsorted(changes, bounds)
    steps = []
    for lo, hi, one, two in zip(bounds, bounds[1:], inside, inside[1:], strict=False):
        starts = changes[one:two]
        steps.append((int(lo), int(hi), starts - lo, node[starts]))
    return steps


def _log_sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """log of the sum of exp of each group of values; groups begin at `starts`."""
    top = np.maximum.reduceat(values, starts)
    top = np.where(np.isfinite(top), top, 0.0)
    sizes = np.diff(np.append(starts, len(values)))
    with np.errstate(divide="ignore"):
        return top + np.log(np.add.reduceat(np.exp(values - np.repeat(top, sizes)), starts))


def lattice(words: Words, pieces: Sequence[str], *, whole: bool = True) -> Lattice:
    """The lattice of words and pieces. whole=False: without edges that span a whole word."""
    table = words_of(dict.fromkeys(pieces, 1.0))
    place_of = {text: i for i, text in enumerate(pieces)}
    number = np.array([place_of[text] for text in sorted(pieces)])
    longest = max(map(len, pieces))
    own, theirs = _hashes(words, longest), _hashes(table, longest)
    heads = np.flatnonzero(np.diff(table.word, prepend=-1))
    starts = np.flatnonzero(np.diff(words.word, prepend=-1))
    sizes = words.left[starts]
    place = sizes[words.word] - words.left
    begins, lengths, found = [], [], []
    for length in range(1, longest + 1):
        of_length = table.left[heads] == length
        keys, ids = theirs[length - 1][heads[of_length]], number[of_length]
        by_key = np.argsort(keys)
        at = np.flatnonzero(words.left >= length)
        if not whole:
            at = at[(place[at] > 0) | (words.left[at] > length)]
        if not len(keys) or not len(at):
            continue
        near = np.minimum(np.searchsorted(keys[by_key], own[length - 1][at]), len(keys) - 1)
        hit = keys[by_key[near]] == own[length - 1][at]
        begins.append(at[hit])
        lengths.append(np.full(int(hit.sum()), length))
        found.append(ids[by_key[near[hit]]])
    begin, size = np.concatenate(begins), np.concatenate(lengths)
    nodes = len(words.codes) + len(starts)
    node = begin + words.word[begin]
    order = np.argsort((place[begin] + size) * nodes + node + size, kind="stable")
    begin, node, size, piece = begin[order], node[order], size[order], np.concatenate(found)[order]
    at = place[begin]
    back = np.argsort((LONGEST + LONGEST_WORD - at) * nodes + node, kind="stable")
    first = starts + np.arange(len(starts))
    return Lattice(node, node + size, piece, at, at + size, words.word[begin], back, nodes, first, first + sizes)


def learn(counts: Mapping[str, float], size: int) -> list[tuple[str, float]]:
    """At most `size` pieces with their log-probabilities, the most probable first.

    Characters come first: if they alone are more than `size`, the most frequent stay."""
    cut: dict[str, float] = {}
    for word, n in counts.items():
        for i in range(0, len(word), LONGEST_WORD):
            cut[word[i : i + LONGEST_WORD]] = cut.get(word[i : i + LONGEST_WORD], 0.0) + n
    words = words_of(cut)
    made = seeds(words, _SEEDS * size)
    pieces = list(made)
    score = np.log(np.array(list(made.values())) / sum(made.values()))
    ways = lattice(words, pieces)
    longer = [p for p in pieces if len(p) > 1]
    inner = lattice(words_of(dict.fromkeys(longer, 1.0)), pieces, whole=False) if longer else None
    owners = sorted(longer)  # the words of `inner`
    wanted = max(int(size * 1.1), len(pieces) - len(longer))
    while True:
        for _ in range(_ROUNDS):
            expected = ways.expected(score, words.weights)
            letter = np.fromiter((len(p) == 1 for p in pieces), bool, len(pieces))
            alive = letter | (expected >= _LEAST)
            pieces = [p for p, keep in zip(pieces, alive, strict=True) if keep]
            ways = ways.keep(alive)
            inner = inner.keep(alive) if inner is not None else None
            expected = np.maximum(expected[alive], _FLOOR)
            score = np.log(expected / expected.sum())
        if len(pieces) <= wanted or inner is None:
            break
        known = dict(zip(owners, inner.best(score).tolist(), strict=True))
        cost = expected * (score - np.array([known.get(p, -np.inf) for p in pieces]))
        target = max(wanted, int(len(pieces) * _SHRINK))
        keep = np.zeros(len(pieces), bool)
        keep[np.argsort(-cost, kind="stable")[:target]] = True  # characters cost infinitely much
        pieces = [p for p, k in zip(pieces, keep, strict=True) if k]
        ways, inner, score = ways.keep(keep), inner.keep(keep), score[keep]
    ranked = sorted(zip(pieces, score.tolist(), strict=True), key=lambda pair: (len(pair[0]) > 1, -pair[1], pair[0]))
    return normal(sorted(ranked[:size], key=lambda pair: (-pair[1], pair[0])))


def normal(pieces: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The same pieces with probabilities that sum to one."""
    total = float(np.logaddexp.reduce([score for _, score in pieces]))
    return [(piece, score - total) for piece, score in pieces]
