"""Go on with a text: the encoder reads its first part, some of it hidden, and the decoder writes what follows.

Source: PALM, arXiv:2004.07159 §2.1-2.3: the encoder predicts the hidden tokens, the decoder continues (it does not
reconstruct), and may copy from the input. Hidden places cannot be copied from: what they show is not the text."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import IGNORE, Batch, Facts, Output, PartConfig, Slot, Sum, part
from modeledge.losses.cross_entropy import cross_entropy
from modeledge.objectives import gather_targets
from modeledge.objectives.seq2seq import Seq2Seq, Start, body_of, carried
from modeledge.views.arrange.pack import pack
from modeledge.views.corrupt.mask import choose_count, replace


class Palm(Seq2Seq):
    """Two losses: of the continuation, and `<name>.mlm` of the tokens hidden from the encoder."""

    class Config(Seq2Seq.Config):
        """split: share of the tokens that the encoder reads; rate: share of those that are hidden."""

        head: Annotated[PartConfig, Slot("heads")] = part("copy")
        split: float = Field(0.8, gt=0, lt=1)
        rate: float = Field(0.15, gt=0, lt=1)
        start: str | Start = "cls"

    config: Config
    needs = ("ids",)

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.losses = (self.losses[0], f"{self.losses[0]}.mlm")

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        cfg, pad = self.config, self.facts.pad
        body = body_of(batch, self.facts)
        place = np.arange(body.ids.shape[1])
        first = place < np.clip(np.round(cfg.split * body.n), np.minimum(body.n, 1), None)[:, None]
        second = ~first & (place < body.n[:, None])
        ids, valid = pack(body.ids, first, pad=pad, begin=body.begin, end=self.end, multiple=8)
        maskable = valid & ~self.facts.is_special()[ids]
        chosen = choose_count(maskable, rng, rate=cfg.rate)
        hidden, labels = replace(ids, chosen, rng, mask=self.role("mask"), words=self.facts.words)
        asked = pack(body.ids, second, pad=pad, end=self.end, multiple=8)
        made = Batch(ids=hidden, labels=labels, copied=maskable & ~chosen)
        made |= carried(batch)
        made = made.but(target_ids=asked.ids, target_valid=asked.valid, valid=None if valid.all() else valid)
        return super().view(made, rng)

    def counts(self, batch: Batch) -> dict[str, float]:
        return super().counts(batch) | {self.losses[1]: float((batch.labels != IGNORE).sum())}

    def finish(self, batch: Batch) -> Batch:
        return gather_targets(batch)

    def scores(self, out: Output, batch: Batch) -> Tensor:
        copied = batch.get("copied")
        if copied is None:  # a task's input, of which nothing is hidden
            copied = batch.valid if "valid" in batch else torch.ones_like(batch.ids, dtype=torch.bool)
        return self.head(out.states, out.encoder_states, batch.ids, copied)

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        states: Tensor = out.encoder_states  # type: ignore[assignment]
        smoothing = self.config.smoothing if self.training else 0.0
        written = cross_entropy(
            self.scores(out, batch).flatten(0, 1), batch.decoder_labels.flatten(), smoothing=smoothing
        )
        hidden = self.head.token.loss(states.flatten(0, 1)[batch.target_at], batch.targets)
        return {self.losses[0]: written, self.losses[1]: hidden}

    def baselines(self, facts: Facts) -> dict[str, float]:
        """Without the figure of knowing nothing: a pointer knows the input's own words from the first step on."""
        return {name: value for name, value in super().baselines(facts).items() if name != "uniform"}

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        labels = batch.decoder_labels
        right = (self.scores(out, batch).argmax(-1) == labels).sum()
        return {"accuracy": Sum(right, (labels >= 0).sum())}
