"""Masked language modelling that hides what it has most to learn from, and weighs it so that nothing is favoured.

Source: Chen, arXiv:2008.05333: the variance that the choice of the masks adds to the gradient is least where tokens are
hidden in proportion to the norm of their gradients; each loss is divided by how much likelier its token was hidden than
at random, so the expected gradient stays that of random masks. The paper's network that proposes masks is replaced by a
running mean, for each entry of the vocabulary, of the norm of the gradient at the decoder's matrix: a product of two
norms that costs no backward pass. Not here: fixed choices by frequency (mlm.py, `select: rare`)."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Output, PartConfig, Slot, Sum, build, part
from modeledge.losses.cross_entropy import accuracy
from modeledge.objectives import Objective, token_baselines
from modeledge.objectives._gather import gather
from modeledge.objectives._shares import Shares
from modeledge.views.corrupt.mask import budget, replace


class Hidden(NamedTuple):
    """Which tokens are hidden, and how much likelier each was at random than as it was done (both b t)."""

    chosen: Bool[Tensor, "b t"]
    weights: Float[Tensor, "b t"]


class GuidedMaskedLM(Objective):
    """The view draws a number and a replacement for every place; the model decides by its running means which of them
    are used. Evaluation hides at random."""

    class Config(Objective.Config):
        """rate: share of ordinary tokens to predict; uniform: the share of the choice that is random, which
        bounds the weights by its inverse (1: all of it, plain masks); keep: how much of a running mean each step keeps;
        replace: shares of [MASK] and of random tokens; head: with a decoder of a matrix."""

        rate: float = Field(0.15, gt=0, lt=1)
        uniform: float = Field(0.2, gt=0, le=1)
        keep: float = Field(0.9, ge=0, lt=1)
        replace: Shares = (0.8, 0.1)
        head: Annotated[PartConfig, Slot("heads")] = part("token")

    config: Config
    norms: Tensor
    new: Tensor

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone)
        self.is_special = facts.is_special()
        self.register_buffer("norms", torch.zeros(facts.vocab))  # 0: not met yet
        self.register_buffer("new", torch.zeros(2, facts.vocab), persistent=False)  # of this step: sums and counts

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        special = batch.special if "special" in batch else self.is_special[batch.ids]
        if "valid" in batch:
            special = special | ~batch.valid
        known = {"mask": self.role("mask"), "words": self.facts.words, "shares": self.config.replace}
        shown, _ = replace(batch.ids, ~special, rng, **known)
        wanted = budget(~special, rate=self.config.rate)
        draws = rng.random((len(special), special.shape[1] + 1), dtype=np.float32)
        return batch.but(special=special, shown=shown, wanted=wanted, chance=draws[:, 1:], start=draws[:, 0])

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(batch.wanted.sum())}

    def hide(self, batch: Batch) -> Hidden:
        """What is hidden in these rows: a function of the batch and of the running means.

        Each token at its odds and so many in all as are wanted: the tokens are put in random order, each as long as it
        is likely, and every one that a point at a distance of 1 from the last falls into is taken (systematic
        sampling). Tokens too long for that are taken for certain, and a row may then have fewer."""
        free = ~batch.special
        at_random = (batch.wanted / free.sum(1).clamp(min=1))[:, None].double()
        odds = self.odds(batch.ids, free) if self.training and self.config.uniform < 1 else free.double()
        likely = (at_random * odds * free).clamp(max=1.0)
        order = batch.chance.argsort(dim=1)
        ends = likely.gather(1, order).cumsum(1) + batch.start[:, None]
        points = F.pad(ends, (1, 0)).floor().diff(dim=1) > 0
        chosen = torch.zeros_like(free).scatter(1, order, points) & free
        return Hidden(chosen, torch.where(free, at_random / likely, 0.0).float())

    def odds(self, ids: Int[Tensor, "b t"], free: Bool[Tensor, "b t"]) -> Float64[Tensor, "b t"]:
        """How much likelier each token is to be hidden than at random; 1 on average over the `free` ones of a row.

        A token that was never a target counts as much as the mean of those that were."""
        met = self.norms > 0
        mean = self.norms.sum() / met.sum().clamp(min=1)
        size = torch.where(met, self.norms, torch.where(met.any(), mean, 1.0))[ids].double() * free
        share = size * free.sum(1, keepdim=True) / size.sum(1, keepdim=True).clamp(min=1e-30)
        return self.config.uniform + (1 - self.config.uniform) * share

    def run(self, backbone: nn.Module, batch: Batch, **options: object) -> Output:
        ids = torch.where(self.hide(batch).chosen, batch.shown, batch.ids)
        return super().run(backbone, batch.but(ids=ids), **options)

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        hidden = self.hide(batch)
        labels, x = batch.ids[hidden.chosen], self.head.transformed(out.states[hidden.chosen])  # type: ignore[index, operator]
        logits = self.scores(x)
        if self.training:
            self.note(logits, labels, x)
        each = F.cross_entropy(logits, labels, reduction="none")
        return {self.losses[0]: Sum((hidden.weights[hidden.chosen] * each).sum(), batch.wanted.sum())}

    def scores(self, x: Float[Tensor, "m e"]) -> Float[Tensor, "m v"]:
        """A score for each token of the vocabulary, in fp32."""
        return F.linear(x, self.head.table(), self.head.bias).float()  # type: ignore[operator, arg-type]

    @torch.no_grad()
    def note(self, logits: Float[Tensor, "m v"], labels: Int[Tensor, " m"], x: Float[Tensor, "m e"]) -> None:
        """Add these targets' gradient norms to the sums of the step."""
        self.new.index_add_(
            1, labels, torch.stack([gradient_norms(logits, labels, x), torch.ones_like(labels).float()])
        )

    def after_step(self, step: int) -> None:
        """Bring the running means up to date with the targets of the step, of every process."""
        total, count = gather(self.new[None])[0].sum(0)
        mean = total / count.clamp(min=1)
        moved = torch.where(self.norms > 0, self.norms.lerp(mean, 1 - self.config.keep), mean)
        self.norms.copy_(torch.where(count > 0, moved, self.norms))
        self.new.zero_()

    def forget_step(self) -> None:
        self.new.zero_()

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        chosen = self.hide(batch).chosen
        scores = self.head(out.states[chosen])  # type: ignore[index]
        return {"accuracy": Sum(accuracy(scores, batch.ids[chosen]), chosen.sum())}

    def finish(self, batch: Batch) -> Batch:
        return batch

    def baselines(self, facts: Facts) -> dict[str, float]:
        return token_baselines(facts, facts.counts, ~facts.is_special())


def gradient_norms(
    logits: Float[Tensor, "m v"], labels: Int[Tensor, " m"], x: Float[Tensor, "m e"]
) -> Float[Tensor, " m"]:
    """The norm of each target's gradient at the matrix that turns `x` into logits: |softmax - one-hot| |x|."""
    p = logits.softmax(-1)
    likely = p.gather(1, labels[:, None]).squeeze(1)
    return ((p * p).sum(1) - 2 * likely + 1).clamp(min=0).sqrt() * x.float().norm(dim=1)
