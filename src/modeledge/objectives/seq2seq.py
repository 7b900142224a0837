"""Sequence to sequence: write the target, token by token, while reading the input.

Sources: arXiv:1706.03762; text-to-text: T5, arXiv:1910.10683 §2.4. Not here: making a target out of plain text
(denoise.py), generation (run)."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import IGNORE, Batch, Facts, Output, PartConfig, RecipeError, Slot, Sum, build, part
from modeledge.losses.cross_entropy import chunked_cross_entropy, count_right
from modeledge.objectives import Objective, entropy
from modeledge.views.arrange.shift import shift_right


class Seq2Seq(Objective):
    """Reads `target_ids` (with their end token) and `target_valid`; makes `decoder_ids` and `decoder_labels`."""

    class Config(Objective.Config):
        """head: from decoder states to token scores; smoothing: share of a target's mass spread over all tokens;
        start: the special token that begins the decoder's input (T5: pad; BART: eos)."""

        head: Annotated[PartConfig, Slot("heads")] = part("token", transform="none", bias=False, scale="root")
        smoothing: float = Field(0.0, ge=0, lt=1)
        start: str = "pad"

    config: Config
    needs = ("ids", "target_ids")

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone)
        if config.start not in facts.special:
            raise RecipeError(f"objective {self.losses[0]}: start: the tokenizer has no {config.start!r} token"
                              f" (it has {', '.join(facts.special)})")  # fmt: skip
        self.start = facts.special[config.start]
        self.end = facts.special.get("eos", facts.special.get("sep", facts.pad))

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        target, valid = batch.target_ids, batch.get("target_valid", True)
        labels = np.where(valid, target, np.int64(IGNORE))
        shown = shift_right(np.where(valid, target, self.facts.pad), start=self.start)
        return batch.but(decoder_ids=shown, decoder_labels=labels, target_ids=None, target_valid=None)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float((batch.decoder_labels != IGNORE).sum())}

    def finish(self, batch: Batch) -> Batch:
        return batch

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        states: Tensor = out.states  # type: ignore[assignment]
        labels = batch.decoder_labels.flatten()
        smoothing = self.config.smoothing if self.training else 0.0
        return {self.losses[0]: chunked_cross_entropy(states.flatten(0, 1), labels, self.head, smoothing=smoothing)}

    def scores(self, out: Output, batch: Batch) -> Tensor:
        """A score for each token of the vocabulary at each place of the decoder: b u v (to write with)."""
        return self.head(out.states)

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        states: Tensor = out.states  # type: ignore[assignment]
        right = count_right(states.flatten(0, 1), batch.decoder_labels.flatten(), self.head)
        return {"accuracy": Sum(right, (batch.decoder_labels >= 0).sum())}

    def baselines(self, facts: Facts) -> dict[str, float]:
        known = entropy(facts.counts)
        return {"uniform": math.log(facts.vocab)} | ({"unigram": known} if known else {})


class Body(NamedTuple):
    """The ordinary tokens of rows: ids b t, of which the first n are real; begin: the token that stood in front."""

    ids: np.ndarray
    n: np.ndarray
    begin: int | None


def body_of(batch: Batch, facts: Facts) -> Body:
    """Rows without padding, without an end token of their own and without the token that frames them in front."""
    ids, cls = batch.ids, facts.special.get("cls")
    n = batch.valid.sum(axis=1) if "valid" in batch else np.full(len(ids), ids.shape[1])
    last = ids[np.arange(len(ids)), np.maximum(n - 1, 0)]
    n = n - np.isin(last, [facts.special[role] for role in ("eos", "sep") if role in facts.special])
    framed = cls is not None and bool((ids[:, 0] == cls).all())
    return Body(ids[:, framed:], n - framed, cls if framed else None)
