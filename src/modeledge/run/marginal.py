"""Write after reading several passages, each by itself: token by token from all of them, or one text for each passage
and then the one that they all together think likeliest.

Source: RAG, arXiv:2005.11401 §2.5 (RAG-Token; RAG-Sequence, thorough and fast)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.core import IGNORE, Batch, InputError
from modeledge.objectives.rag import Found, Rag
from modeledge.run.search import Beam, Greedy, Reader, Sample, hypotheses


class Mixing:
    """A reader of b texts on top of one of b*k: the next token's probability is the mean over each text's k passages,
    weighed by `prior` (log p b k)."""

    def __init__(self, inner: Reader, prior: Float[Tensor, "b k"]):
        self.inner, self.prior = inner, prior

    def first(self) -> Float[Tensor, "b v"]:
        return self._mixed(self.inner.first())

    def next(self, ids: Int[Tensor, " b"]) -> Float[Tensor, "b v"]:
        return self._mixed(self.inner.next(ids.repeat_interleave(self.prior.shape[1])))

    def _mixed(self, scores: Float[Tensor, "b*k v"]) -> Float[Tensor, "b v"]:
        b, k = self.prior.shape
        return (scores.float().log_softmax(-1).view(b, k, -1) + self.prior[..., None]).logsumexp(1)

    def reorder(self, rows: Int[Tensor, " n"]) -> None:
        k = self.prior.shape[1]
        self.inner.reorder((rows[:, None] * k + torch.arange(k, device=rows.device)).flatten())
        self.prior = self.prior[rows]


def write_sequences(
    backbone: nn.Module, objective: Rag, reader: Reader, found: Found, how: Greedy | Sample | Beam, *, limit: int
) -> Int[Tensor, "b n"]:
    """The likeliest of the texts that were written after each passage alone (`reader`), by their sum over passages.

    Raises InputError for texts that are to be drawn."""
    if isinstance(how, Sample):
        raise InputError("generate: a marginal over sequences is searched, not drawn from\n  next: no temperature")
    pad, end, n = objective.facts.pad, objective.end, how.beams if isinstance(how, Beam) else 1
    (b, k), penalty = found.prior.shape, how.penalty if isinstance(how, Beam) else 1.0
    texts = hypotheses(reader, Beam(n, penalty), limit=limit, end=end, pad=pad)
    ids = texts.view(b, k * n, -1)
    if objective.config.decode == "thorough":
        log_p = torch.stack([score(backbone, objective, found.rows, ids[:, i]) for i in range(k * n)], 1)
    else:
        first = torch.arange(b, device=ids.device) * k
        alone = [found.rows.rows(first + i // n) for i in range(k * n)]  # type: ignore[arg-type]
        own = torch.cat([score(backbone, objective, alone[i], ids[:, i]) for i in range(k * n)], 1)
        same = (ids[:, :, None] == ids[:, None]).all(-1)  # of two texts
        known = torch.where(same, own[:, None], float("-inf"))
        log_p = known.view(b, k * n, k, n).amax(-1)
    best = (found.prior[:, None] + log_p).logsumexp(-1).argmax(1)
    return ids[torch.arange(b, device=ids.device), best]


def score(backbone: nn.Module, objective: Rag, rows: Batch, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b k"]:
    """log p of a text for each row, after each passage."""
    ended = ids == objective.end
    labels = torch.where(ended.int().cumsum(1) - ended.int() > 0, IGNORE, ids)
    shown = torch.cat([torch.full_like(ids[:, :1], objective.start), ids[:, :-1]], 1)
    likelihood, _ = objective.likelihood(objective.write(backbone, rows, Batch(decoder_ids=shown)), labels)
    return likelihood.sum(1)
