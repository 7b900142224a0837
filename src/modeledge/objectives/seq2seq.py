"""Sequence to sequence: write the target, token by token, while reading the input.

Sources: arXiv:1706.03762; text-to-text: T5, arXiv:1910.10683 §2.4; languages as tokens: mBART, arXiv:2001.08210 §2.1,
as vectors: XLM, arXiv:1901.07291 §5.4. Not here: making a target out of plain text (denoise.py), generation (run)."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from modeledge import core
from modeledge.core import IGNORE, Batch, Facts, Output, PartConfig, RecipeError, Slot, Sum, build, part
from modeledge.losses.cross_entropy import count_right, head_loss
from modeledge.objectives import Objective, token_baselines
from modeledge.views.arrange.pack import pack
from modeledge.views.arrange.shift import shift_right

Number = Annotated[int, Field(ge=0)]


class Start(core.Config):
    """What the decoder's input begins with. kind: a special token, or `lang` for that of the target's language, while
    that of the input's language ends the input (mBART); langs: the numbers of the languages of input and target
    (default: as the rows say)."""

    kind: str = "pad"
    langs: tuple[Number, Number] | None = None


class Seq2Seq(Objective):
    """Reads `target_ids` (with their end token) and `target_valid`; makes `decoder_ids` and `decoder_labels`."""

    class Config(Objective.Config):
        """head: from decoder states to token scores; smoothing: share of a target's mass spread over all tokens;
        start: the special token that begins the decoder's input (T5: pad; BART: eos; mBART: lang), also with the
        languages of input and target, {kind: lang, langs: [0, 1]}."""

        head: Annotated[PartConfig, Slot("heads")] = part("token", transform="none", bias=False, scale="root")
        smoothing: float = Field(0.0, ge=0, lt=1)
        start: str | Start = "pad"

    config: Config
    needs = ("ids", "target_ids")

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone)
        begins = config.start if isinstance(config.start, Start) else Start(kind=config.start)
        self.langs = begins.langs
        self.tongues = self._tongues() if begins.kind == "lang" else None
        if self.tongues is None and begins.kind not in facts.special:
            raise RecipeError(f"objective {self.losses[0]}: start: the tokenizer has no {begins.kind!r} token"
                              f" (it has {', '.join(facts.special)})")  # fmt: skip
        self.start = facts.special.get(begins.kind, facts.pad)
        self.end = facts.special.get("eos", facts.special.get("sep", facts.pad))

    def _tongues(self) -> np.ndarray:
        """The tokens of the languages, by number. Raises RecipeError if there are fewer than the data has languages."""
        special = self.facts.special
        found = [special[f"lang{i}"] for i in range(len(special)) if f"lang{i}" in special]
        wanted = max(self.facts.types.get("lang", 0), *(1 + n for n in self.langs or (0,)))
        if len(found) < wanted:
            raise RecipeError(
                f"objective {self.losses[0]}: start: lang needs a token for each of {wanted} languages, the tokenizer"
                f" has {len(found)}\n  next: train one with tokenizer.family=mbart tokenizer.languages={wanted}"
            )
        return np.array(found)

    def told(self, batch: Batch) -> Batch:
        """The batch with the language of input and target (`lang`, `decoder_lang`, one a row) where they are known;
        where languages are tokens, with the input's behind it and the target's as `decoder_start`.

        Raises RecipeError if tokens of unknown languages are wanted."""
        if self.langs is not None:
            one, two = (np.full(len(batch.ids), number) for number in self.langs)
            batch = batch.but(lang=one, decoder_lang=two)
        elif "lang" in batch:
            own = batch.lang.reshape(len(batch.ids), -1)[:, 0]
            batch = batch.but(lang=own, decoder_lang=batch.get("decoder_lang", own))
        if self.tongues is None:
            return batch
        if "lang" not in batch:
            raise RecipeError(
                f"objective {self.losses[0]}: start: lang, and the rows do not say their language\n  next: prepare text"
                " with --column lang=NAME; for a task name the languages of input and target:"
                " --set objectives.0.start.langs=[0,1]"
            )
        real = batch.valid if "valid" in batch else np.ones(batch.ids.shape, bool)
        made = pack(batch.ids, real, pad=self.facts.pad, end=self.tongues[batch.lang], multiple=8)
        valid = None if made.valid.all() else made.valid
        return batch.but(ids=made.ids, valid=valid, decoder_start=self.tongues[batch.decoder_lang])

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        batch = self.told(batch)
        target, valid = batch.target_ids, batch.get("target_valid", True)
        labels = np.where(valid, target, np.int64(IGNORE))
        shown = shift_right(np.where(valid, target, self.facts.pad), start=batch.get("decoder_start", self.start))
        made = {"decoder_ids": shown, "decoder_labels": labels}
        return batch.but(**made, target_ids=None, target_valid=None, decoder_start=None)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float((batch.decoder_labels != IGNORE).sum())}

    def finish(self, batch: Batch) -> Batch:
        return batch

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        states: Tensor = out.states  # type: ignore[assignment]
        labels = batch.decoder_labels.flatten()
        smoothing = self.config.smoothing if self.training else 0.0
        return {self.losses[0]: head_loss(self.head, states.flatten(0, 1), labels, smoothing=smoothing)}

    def scores(self, out: Output, batch: Batch) -> Tensor:
        """A score for each token of the vocabulary at each place of the decoder: b u v (to write with)."""
        return self.head(out.states)

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        states: Tensor = out.states  # type: ignore[assignment]
        right = count_right(states.flatten(0, 1), batch.decoder_labels.flatten(), self.head)
        return {"accuracy": Sum(right, (batch.decoder_labels >= 0).sum())}

    def baselines(self, facts: Facts) -> dict[str, float]:
        return token_baselines(facts, facts.counts)


def carried(batch: Batch) -> Batch:
    """What a row keeps when its tokens are laid out anew: its number, its epoch and its language, one a row."""
    found = Batch({name: batch[name] for name in ("row", "epoch", "lang") if name in batch})
    return found.but(lang=found.lang.reshape(len(found.lang), -1)[:, 0]) if "lang" in found else found


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
