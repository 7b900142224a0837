"""Which tokens to write, given scores for the next one: the best each time, the best sequences, or by chance.

A search knows a model only as a Reader. Lengths count written tokens, the end token included. Sources: beam search with
length normalisation: arXiv:1609.08144 §7; top-k: arXiv:1805.04833 §5; top-p: arXiv:1904.09751 §3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NEVER = -1e9
"""A score that loses against any real one, and stays finite."""


class Reader(Protocol):
    """A model in the middle of b texts."""

    def first(self) -> Float[Tensor, "b v"]:
        """Scores for the first token to be written."""
        ...

    def next(self, ids: Int[Tensor, " b"]) -> Float[Tensor, "b v"]:
        """Append one token to each text; scores for the one after it."""
        ...

    def reorder(self, rows: Int[Tensor, " n"]) -> None:
        """Go on with these texts, in this order; one may come several times."""
        ...


@dataclass(frozen=True)
class Greedy:
    """The best token each time."""


@dataclass(frozen=True)
class Sample:
    """By chance: temperature, then only the `top_k` best (0: all), of these only the fewest that hold `top_p`, one
    at least."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


@dataclass(frozen=True)
class Beam:
    """The best of `beams` sequences by log p / length^penalty; a text is done when `beams` sequences have ended and
    none that goes on could end better at its present length."""

    beams: int = 4
    penalty: float = 1.0


def filtered(scores: Float[Tensor, "b v"], how: Sample) -> Float[Tensor, "b v"]:
    """Scores whose softmax is the distribution to draw from; -inf for tokens that are ruled out."""
    scores = scores.float() / how.temperature
    if how.top_k:
        worst = scores.topk(min(how.top_k, scores.shape[-1]), dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < worst, float("-inf"))
    if how.top_p < 1:
        ordered, order = scores.sort(dim=-1, descending=True)
        p = ordered.softmax(-1)
        beyond = p.cumsum(-1) - p >= how.top_p  # those before it already hold top_p
        beyond[:, 0] = False
        scores = scores.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), float("-inf"))
    return scores


def one_by_one(
    reader: Reader, how: Greedy | Sample, *, limit: int, end: int, pad: int, rng: torch.Generator | None = None
) -> Int[Tensor, "b n"]:
    """Up to `limit` tokens for each text, `pad` after its end token; stops when all have ended."""
    scores, written = reader.first(), []
    done = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    while True:
        if isinstance(how, Sample):
            chosen = torch.multinomial(filtered(scores, how).softmax(-1), 1, generator=rng)[:, 0]
        else:
            chosen = scores.argmax(-1)
        chosen = torch.where(done, pad, chosen)
        written.append(chosen)
        done = done | (chosen == end)
        if len(written) == limit or bool(done.all()):
            return torch.stack(written, dim=1)
        scores = reader.next(chosen)


class _Beams(NamedTuple):
    """k sequences for each of b texts, best first: written tokens b k n, log p or final scores b k."""

    ids: Int[Tensor, "b k n"]
    scores: Float[Tensor, "b k"]

    def take(self, index: Int[Tensor, "b j"]) -> _Beams:
        ids = self.ids.gather(1, index[..., None].expand(-1, -1, self.ids.shape[-1]))
        return _Beams(ids, self.scores.gather(1, index))


def beams(reader: Reader, how: Beam, *, limit: int, end: int, pad: int) -> Int[Tensor, "b n"]:
    """The best sequence for each text, up to `limit` tokens, `pad` after its end token."""
    ids = hypotheses(reader, how, limit=limit, end=end, pad=pad)[:, 0]
    longest = int(((ids == end).int().cumsum(1) - (ids == end).int() == 0).sum(1).max())
    return ids[:, :longest]


def hypotheses(reader: Reader, how: Beam, *, limit: int, end: int, pad: int) -> Int[Tensor, "b k n"]:
    """The `beams` best sequences for each text, best first, `limit` tokens each, `pad` after the end token."""
    k = how.beams
    scores = reader.first()
    b = len(scores)
    reader.reorder(torch.arange(b, device=scores.device).repeat_interleave(k))
    scores = scores.repeat_interleave(k, dim=0)
    empty = torch.full((b, k, limit), pad, device=scores.device)
    live = _Beams(empty, torch.full((b, k), NEVER, device=scores.device).index_fill(1, empty.new_tensor([0]), 0.0))
    ended = _Beams(empty.clone(), torch.full((b, k), NEVER, device=scores.device))
    open_ = torch.ones(b, 1, dtype=torch.bool, device=scores.device)
    for n in range(1, limit + 1):
        found, parent = _extend(live, scores, n)
        stops = (found.ids[..., n - 1] == end) | (n == limit)
        ended = _collect(ended, found, stops, open_, length=n**how.penalty)
        best = (found.scores + NEVER * stops).topk(k).indices
        live = found.take(best)._replace(scores=(found.scores + NEVER * stops).gather(1, best))
        could = live.scores[:, :1] / n**how.penalty
        open_ = open_ & (could > ended.scores[:, -1:])
        if n == limit or not bool(open_.any()):
            break
        rows = (parent.gather(1, best) + k * torch.arange(b, device=best.device)[:, None]).flatten()
        reader.reorder(rows)
        scores = reader.next(live.ids[..., n - 1].flatten())
    return ended.ids


def _extend(live: _Beams, scores: Tensor, n: int) -> tuple[_Beams, Int[Tensor, "b 2k"]]:
    """The 2k best sequences that are one token longer, and the beam each came from.

    At most k of them end, so k remain that go on."""
    b, k = live.scores.shape
    v = scores.shape[-1]
    total = live.scores[..., None] + scores.float().log_softmax(-1).view(b, k, v)
    best, index = total.flatten(1).topk(2 * k)
    found = live.take(index // v)
    ids = found.ids.clone()
    ids[..., n - 1] = index % v
    return _Beams(ids, best), index // v


def _collect(
    ended: _Beams, found: _Beams, stops: Bool[Tensor, "b 2k"], open_: Bool[Tensor, "b 1"], *, length: float
) -> _Beams:
    """The k best of those that had ended and those among the k first of `found` that end now."""
    k = ended.scores.shape[1]
    first = torch.arange(stops.shape[1], device=stops.device) < k
    scores = torch.where(stops & first & open_, found.scores / length, NEVER)
    both = _Beams(torch.cat([ended.ids, found.ids], 1), torch.cat([ended.scores, scores], 1))
    return both.take(both.scores.topk(k).indices)
