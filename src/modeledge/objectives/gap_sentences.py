"""Write the sentences that were taken out of a text: those that sum it up.

Source: PEGASUS, arXiv:1912.08777 §3 and the released settings ("mixed and stochastic": rate 0.15 to 0.45, noise 0.2,
a tenth left intact). Optionally tokens of the other sentences are hidden as in BERT and predicted by the encoder. Not
here: a limit on the target (the paper cuts it at 256 tokens, which rows of 512 rarely reach)."""

from __future__ import annotations

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import IGNORE, Batch, Facts, Output, RecipeError, Sum
from modeledge.losses.cross_entropy import head_loss
from modeledge.objectives import gather_targets
from modeledge.objectives.seq2seq import Seq2Seq, body_of, carried
from modeledge.views.arrange.pack import pack
from modeledge.views.corrupt.gaps import Strategy, choose_gaps
from modeledge.views.corrupt.mask import choose_count, replace


class GapSentences(Seq2Seq):
    """Each chosen sentence becomes one `mask_sent`; the decoder writes them in the order of the text.

    With `hide` a second loss, named `<name>.mlm`."""

    class Config(Seq2Seq.Config):
        """strategy: how sentences are chosen; rate: share of them, at least one, drawn between two bounds for each row;
        noise: on the scores; intact: share of the chosen ones that the input still shows; hide: share of the tokens
        of the other sentences that the encoder predicts."""

        strategy: Strategy = "ind_orig"
        rate: tuple[float, float] = (0.3, 0.3)
        noise: float = Field(0.0, ge=0, lt=1)
        intact: float = Field(0.0, ge=0, le=1)
        hide: float = Field(0.0, ge=0, lt=1)

    config: Config
    needs = ("ids", "sentence_starts")

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        if "mask_sent" not in facts.special:
            raise RecipeError(f"objective {self.losses[0]}: the tokenizer has no token for a missing sentence"
                              " (mask_sent)\n"
                              "  next: tokenizer.kind=unigram tokenizer.family=pegasus")  # fmt: skip
        if config.hide:
            self.losses = (self.losses[0], f"{self.losses[0]}.mlm")

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        cfg, pad = self.config, self.facts.pad
        body = body_of(batch, self.facts)
        place = np.arange(body.ids.shape[1])
        inside = place < body.n[:, None]
        starts = inside & (batch.sentence_starts[:, -len(place) :] | (place == 0))
        sentence = np.where(inside, np.cumsum(starts, axis=1) - 1, -1)
        low, high = cfg.rate
        rate = low + (high - low) * rng.random(len(body.n))
        wanted = np.maximum(1, np.floor(rate * starts.sum(axis=1) + 1e-9)).astype(np.int64)
        gaps = choose_gaps(body.ids, sentence, wanted, rng, strategy=cfg.strategy, noise=cfg.noise)
        taken = np.take_along_axis(gaps, np.maximum(sentence, 0), axis=1) & inside
        hidden = np.take_along_axis(gaps & (rng.random(gaps.shape) >= cfg.intact), np.maximum(sentence, 0), 1) & inside

        ids, labels = np.where(hidden & starts, body.ids.dtype.type(self.role("mask_sent")), body.ids), None
        kept = inside & (starts | ~hidden)
        if cfg.hide:
            chosen = choose_count(inside & ~taken, rng, rate=cfg.hide)
            ids, labels = replace(ids, chosen, rng, mask=self.role("mask"), words=self.facts.words)
            labels = pack(
                labels, kept, pad=IGNORE, begin=None if body.begin is None else IGNORE, end=IGNORE, multiple=8
            )
        shown = pack(ids, kept, pad=pad, begin=body.begin, end=self.end, multiple=8)
        asked = pack(body.ids, taken, pad=pad, end=self.end, multiple=8)
        made = Batch(ids=shown.ids, target_ids=asked.ids, target_valid=asked.valid)
        made |= carried(batch)
        made = made.but(valid=None if shown.valid.all() else shown.valid, labels=None if labels is None else labels.ids)
        return super().view(made, rng)

    def counts(self, batch: Batch) -> dict[str, float]:
        hidden = {self.losses[1]: float((batch.labels != IGNORE).sum())} if self.config.hide else {}
        return super().counts(batch) | hidden

    def finish(self, batch: Batch) -> Batch:
        return gather_targets(batch) if self.config.hide else batch

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        found = super().loss(out, batch)
        if self.config.hide:
            states: Tensor = out.encoder_states  # type: ignore[assignment]
            found[self.losses[1]] = head_loss(self.head, states.flatten(0, 1)[batch.target_at], batch.targets)
        return found
