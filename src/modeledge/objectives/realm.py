"""Masked language modelling with passages to read: what is hidden is predicted from the row and a passage found for it,
and the search learns from which passages helped.

Source: REALM, arXiv:2002.08909 §3, and the released code: `candidates` passages, the first of them none at all,
re-embedded so that the gradient reaches both towers; the passage that a row was taken out of is not found. The index
is of the passage tower as it was at the last refresh, which is a companion and part of the checkpoint. Where no passage
is read the row ends with its own [sep] (the release adds a second). Not here: a tagger of names and dates (mark them
when the text is prepared), question answering."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import IGNORE, Batch, Facts, RecipeError, Sum, build, part
from modeledge.losses.marginal import Per, log_likelihood, marginal_nll, mixed
from modeledge.losses.products import products
from modeledge.objectives import Objective
from modeledge.objectives._hiding import Hiding
from modeledge.objectives._index import Index, beside, encode_texts, frame_of, index_of, repeated
from modeledge.objectives._momentum import Twin


class Read(NamedTuple):
    """prior: log p(passage | row) b k; states: at the targets, with each passage, b m k d; labels: b m."""

    prior: Float[Tensor, "b k"]
    states: Float[Tensor, "b m k d"]
    labels: Tensor

    @property
    def counted(self) -> Bool[Tensor, "b m"]:
        return self.labels != IGNORE


class Realm(Objective):
    """Reads rows with `passage`, the number of the passage a row comes from (not below 0 if it is in the index)."""

    class Config(Objective.Config):
        """candidates: texts to read for each row, no text at all among them (1: plain masked language modelling);
        marginal: sum over them for each token (as released) or for all tokens of a row (as in the paper); refresh: make
        the index anew every so many steps; passages: the source that has them (default: the first); mask: the
        objective that hides tokens."""

        candidates: int = Field(8, ge=1)
        marginal: Per = "token"
        refresh: int = Field(500, ge=1)
        passages: str | None = None
        mask: Hiding = part("mlm", select="mention", most=10, replace=(1.0, 0.0))

    config: Config
    needs = ("ids", "passage")

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        if getattr(backbone, "reader", None) is None:
            raise RecipeError(
                f"objective {self.losses[0]}: needs towers and a reader: backbone.kind=dual with `reader`"
            )
        self.mask: Any = build("objectives", config.mask, facts, backbone.reader)
        self.needs = tuple(dict.fromkeys((*self.needs, *self.mask.needs)))
        self.frame = frame_of(facts, f"objective {self.losses[0]}")
        self.twin = Twin(*backbone.side("passage"), momentum=0.0)
        self.index: Index | None = None

    def consult(self, sources: dict[str, Any]) -> None:
        name = self.config.on or next(iter(sources))
        self.mask.consult({name: sources[name]})
        if self.config.candidates > 1:
            count, where = self.config.candidates - 1, f"objective {self.losses[0]}"
            self.index = index_of(sources, self.config.passages, list(self.twin.copies), count=count, where=where)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        return self.mask.view(batch, rng)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float((batch.labels != IGNORE).sum())}

    def finish(self, batch: Batch) -> Batch:
        """Adds `target_at`, `targets` b m: where in its row each target is, and what."""
        there = batch.labels != IGNORE
        at = np.argsort(~there, axis=1, kind="stable")[:, : max(1, int(there.sum(1).max(initial=0)))]
        return batch.but(target_at=at, targets=np.take_along_axis(batch.labels, at, 1), labels=None)

    def forward(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        read = self.read(backbone, batch)
        found = log_likelihood(read.states.flatten(0, 2), labels_of(read), self.mask.head).view(read.states.shape[:3])
        return {self.losses[0]: marginal_nll(read.prior, found, read.counted, per=self.config.marginal)}

    def read(self, backbone: Any, batch: Batch) -> Read:
        """Find passages for the rows and read each row with each of them; the first is none."""
        b, k = len(batch.ids), self.config.candidates
        rows = repeated(batch, 1)
        query = encode_texts(backbone.side("query"), rows)
        texts = self.found(query, batch)
        passages = encode_texts(backbone.side("passage"), texts).view(b, k, -1)
        prior = products(query[:, None], passages)[:, 0].log_softmax(-1)
        shown = torch.arange(b * k, device=query.device) % k > 0
        joint = beside(repeated(rows, k), texts, shown)
        states = self.run(backbone, joint).states
        at = batch.target_at[:, None, :, None].expand(b, k, -1, states.shape[-1])  # type: ignore[union-attr]
        return Read(prior, states.view(b, k, *states.shape[1:]).gather(2, at).transpose(1, 2), batch.targets)  # type: ignore[union-attr]

    def found(self, query: Float[Tensor, "b d"], batch: Batch) -> Batch:
        """The texts to read for each row: b*k rows, the first of each k empty."""
        b, k = len(query), self.config.candidates
        empty = torch.tensor([self.frame], device=query.device).expand(b, -1)
        if k == 1:
            return Batch(ids=empty, valid=torch.ones_like(empty, dtype=torch.bool))
        assert self.index is not None, "nobody said where the passages are (consult)"
        self.twin.begin()
        numbers = self.index.top(query.detach(), k - 1, without=batch.passage)
        texts = self.index.texts(numbers.flatten().cpu().numpy(), query.device)
        t = texts.ids.shape[1]
        ids = torch.full((b, k, t), self.facts.pad, device=query.device)
        valid = torch.zeros_like(ids, dtype=torch.bool)
        ids[:, 0, :2], valid[:, 0, :2] = empty, True
        ids[:, 1:], valid[:, 1:] = texts.ids.view(b, k - 1, t), texts.valid.view(b, k - 1, t)
        return Batch(ids=ids.flatten(0, 1), valid=valid.flatten(0, 1))

    def after_step(self, step: int) -> None:
        if self.index is not None and (step + 1) % self.config.refresh == 0:
            self.twin.move()
            self.index.forget()

    def measure(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        """accuracy; utility: nats that the passages saved, -log p(target | row, no passage) + log p(target | row)."""
        read = self.read(backbone, batch)
        counted, count = read.counted, read.counted.sum()
        scores = self.mask.head(read.states).float().log_softmax(-1)  # b m k v
        own = scores.gather(-1, labels_of(read).clamp(min=0).view(*scores.shape[:3], 1))[..., 0]
        said = (scores + read.prior[:, None, :, None]).logsumexp(2).argmax(-1)
        gained = mixed(read.prior, own, counted, per=self.config.marginal) - own[:, :, 0]
        return {
            "accuracy": Sum(((said == read.labels) & counted).sum(), count),
            "utility": Sum((gained * counted).sum(), count),
        }

    def baselines(self, facts: Facts) -> dict[str, float]:
        return self.mask.baselines(facts)


def labels_of(read: Read) -> Tensor:
    """The labels once for each passage: b*m*k."""
    return read.labels[..., None].expand(read.states.shape[:3]).flatten()
