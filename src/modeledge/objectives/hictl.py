"""Hierarchical contrast: a sentence against hard negatives of its translation, and against the words it is made of.

Source: HICTL, arXiv:2007.15960 §3.2 (sentences: a negative is moved along the line towards the positive, the further
the surer the model has been) and §3.3 (words: those of the pair against words sampled from the vocabulary). Not here: a
queue of negatives (xlco.py)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Sum
from modeledge.heads import linear
from modeledge.losses.products import products
from modeledge.objectives import Objective, own_document
from modeledge.objectives._gather import gather
from modeledge.visibility import see
from modeledge.visibility.full import full

REMEMBERED = 100
"""Steps over which the model's sureness is averaged."""


class Hierarchical(Objective):
    """Two losses, `<name>_sentence` and `<name>_word`; reads pairs as two texts of a row (ids b 2 t)."""

    whole_batch = True
    sureness: Tensor

    class Config(Objective.Config):
        """temperature: of the cosines; slack: how far negatives are moved (0: not at all); negatives: words sampled a
        pair; sentence, word: factors of the two losses."""

        temperature: float = Field(0.1, gt=0)
        slack: float = Field(0.9, ge=0, le=1)
        negatives: int = Field(2048, ge=1)
        sentence: float = Field(1.0, ge=0)
        word: float = Field(1.0, ge=0)

    config: Config
    needs = ("ids", "valid", "special")

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.losses = (f"{self.losses[0]}_sentence", f"{self.losses[0]}_word")
        width: int = backbone.width  # type: ignore[assignment]
        self.for_sentences, self.for_words = linear(width, width), linear(width, backbone.embedding.width)  # type: ignore
        self.register_buffer("sureness", torch.zeros(REMEMBERED))
        self.waiting: list[Tensor] = []

    def weights(self, step: int, total: int) -> dict[str, float]:
        parts = (self.config.sentence, self.config.word)
        return {name: self.weight(step, total) * part for name, part in zip(self.losses, parts, strict=True)}

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Adds `words`: a pair's own ordinary words, each once, then the sampled ones; `role`: 1 its own, -1 sampled
        and not its own, 0 no word."""
        usable = ~batch.special & batch.valid
        own = np.where(usable, batch.ids, -1).reshape(batch.size, -1)
        own = np.sort(own, axis=1)
        first = own >= 0
        first[:, 1:] &= own[:, 1:] != own[:, :-1]
        sampled = rng.integers(*self.facts.words, (batch.size, self.config.negatives), dtype=own.dtype)
        held = np.zeros((batch.size, self.facts.vocab), bool)
        np.put_along_axis(held, np.where(first, own, own.max(axis=1, keepdims=True)), True, axis=1)
        strange = ~np.take_along_axis(held, sampled, axis=1)
        role = np.concatenate([first.astype(np.int8), -strange.astype(np.int8)], axis=1)
        return batch.but(words=np.concatenate([np.maximum(own, 0), sampled], axis=1), role=role)

    def counts(self, batch: Batch) -> dict[str, float]:
        return dict(zip(self.losses, (2.0 * batch.size, float((batch.role == 1).sum())), strict=True))

    def forward(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        left, right = (self.first_states(backbone, batch, i) for i in (0, 1))
        sentence = self.sentences(left, right)
        word = self.words(left + right, backbone.embed(batch.words), batch.role)  # type: ignore[operator]
        return dict(zip(self.losses, (sentence, word), strict=True))

    def first_states(self, backbone: nn.Module, batch: Batch, side: int) -> Float[Tensor, "b d"]:
        """The first state of one text of each pair."""
        text = Batch({k: v[:, side] for k, v in batch.items() if v.ndim == 3})
        seen = see(own_document(text, full), *text.ids.shape, device=text.ids.device)
        return backbone(text, seen).states[:, 0]

    def sentences(self, left: Float[Tensor, "b d"], right: Float[Tensor, "b d"]) -> Sum:
        """Both directions: the translation among the hardened others of all processes."""
        left, right = (F.normalize(self.for_sentences(x).float(), dim=-1) for x in (left, right))
        all_left, all_right, first = left, right, 0
        if self.training:  # every process evaluates by itself
            (all_left, first), (all_right, _) = gather(left), gather(right)
        sure = self.sureness.mean() * self.config.slack
        own = first + torch.arange(len(left), device=left.device)
        total = left.new_zeros((), dtype=torch.float32)
        for queries, positives, others in ((left, right, all_right), (right, left, all_left)):
            logits = hardened(queries, positives, others, power=sure) / self.config.temperature
            total = total + F.cross_entropy(logits, own, reduction="sum")
        count = own.new_full((), 2 * len(left))
        if self.training:
            self.waiting.append(total.detach() / count)
        return Sum(total, count)

    def words(self, pair: Float[Tensor, "b d"], vectors: Float[Tensor, "b n e"], role: Tensor) -> Sum:
        """Each of the pair's words against the sampled ones, for the pair's vector."""
        query = F.normalize(self.for_words(pair).float(), dim=-1)
        scores = products(F.normalize(vectors.float(), dim=-1), query[:, None])[..., 0] / self.config.temperature
        others = scores.masked_fill(role != -1, float("-inf")).logsumexp(-1, keepdim=True)
        losses = torch.logaddexp(scores, others) - scores
        return Sum(torch.where(role == 1, losses, 0.0).sum(), (role == 1).sum())

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        if self.waiting:
            cost = gather(torch.stack(self.waiting).mean()[None])[0].mean()  # the same on every process
            self.sureness[step % REMEMBERED] = (-cost).exp()
        self.waiting.clear()


def hardened(
    queries: Float[Tensor, "b d"],
    positives: Float[Tensor, "b d"],
    others: Float[Tensor, "n d"],
    *,
    power: Tensor | float,
) -> Float[Tensor, "b n"]:
    """The products of each query with the keys, each moved towards its positive where it is further away than that.

    With distances p and n of positive and negative a negative goes to positive + (p / n)^power (negative - positive):
    power 0 leaves it, power 1 brings it about as near as the positive, which stays where it is among the keys. The
    product of a sum is the sum of two products, so no moved key is ever made."""
    with torch.no_grad():
        near = (queries - positives).norm(dim=-1, keepdim=True)
        far = torch.cdist(queries, others)
        share = torch.where(far > near, (near / far.clamp(min=1e-12)).clamp(min=1e-12) ** power, 1.0)
    return (queries * positives).sum(-1, keepdim=True).lerp(products(queries, others), share)
