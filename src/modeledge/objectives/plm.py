"""Permutation language modelling: the last tokens of a random order, each from those before it in the order.

Source: XLNet, arXiv:1906.08237 §2.2-2.5 and the released data builder. Tokens are not replaced: a query stream that
does not know its own token reads a content stream that does. Rows of parallel streams remember the row before
(memory). Not here: reading half of the streams backwards (the source, `data.text.backward`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from modeledge.backbones.two_stream import Query
from modeledge.core import IGNORE, Batch, Facts, Output, PartConfig, RecipeError, Slot, Sum, build, part
from modeledge.losses.cross_entropy import accuracy, head_loss
from modeledge.objectives import Objective, Rule, own_document, token_baselines
from modeledge.objectives._memory import Remembering, remembers
from modeledge.views.arrange.append import LEAST, append_pair
from modeledge.views.arrange.pack import pack
from modeledge.views.corrupt.mask import budget
from modeledge.views.corrupt.permute import choose_spans, factorise
from modeledge.visibility import both, see
from modeledge.visibility.memory import after_memory
from modeledge.visibility.permutation import content, query


class PermutationLM(Remembering):
    """Needs a two-stream backbone."""

    class Config(Objective.Config):
        """rate: share of the tokens to predict (1/K of the paper); reuse: share of a row, its beginning, that later
        rows may remember; it has an order of its own and knows nothing of the rest; memory: how many tokens a row
        remembers; layout: what follows the reused part, the text itself or a pair of segments [A sep B sep cls]."""

        rate: float = Field(1 / 6, gt=0, lt=1)
        reuse: float = Field(1.0, gt=0, le=1)
        memory: int = Field(0, ge=0)
        layout: Literal["text", "pair"] = "text"
        head: Annotated[PartConfig, Slot("heads")] = part("token", transform="none")

    config: Config
    backward = True

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        if getattr(backbone.config, "kind", "") != "two_stream":
            raise RecipeError(f"objective {self.losses[0]}: needs backbone.kind: two_stream, found"
                              f" {getattr(backbone.config, 'kind', '')!r}")  # fmt: skip
        if config.layout == "pair" and config.reuse == 1:
            raise RecipeError(f"objective {self.losses[0]}: layout: pair needs a `reuse` below 1 to make room")
        self.head = build("heads", config.head, facts, backbone)
        self.is_special = facts.is_special()

    # ---- the view ----

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        cfg = self.config
        if cfg.memory and "fresh" not in batch:
            raise RecipeError(f"objective {self.losses[0]}: memory needs rows that follow each other; use data: stream")
        if cfg.layout == "pair" and "doc" in batch:
            raise RecipeError(f"objective {self.losses[0]}: layout: pair cannot keep documents apart; isolate: false")
        functional = batch.special if "special" in batch else self.is_special[batch.ids]
        if cfg.layout == "pair":
            kept, t = self.kept(batch), batch.ids.shape[1]
            if kept + LEAST > t:
                raise RecipeError(
                    f"objective {self.losses[0]}: layout: pair: a reuse of {cfg.reuse:g} keeps {kept} of {t} tokens "
                    f"and [A sep B sep cls] needs {LEAST}\n  next: a smaller reuse, or longer rows"
                )
            made = append_pair(batch.ids, rng, kept=self.kept(batch), sep=self.role("sep"), cls=self.role("cls"))
            functional = self.is_special[made.ids]
            batch = batch.but(ids=made.ids, segments=made.segments, special=functional, word_starts=None)
        maskable = ~functional & batch.valid if "valid" in batch else ~functional
        predicted = self.choose(batch, maskable, rng)
        rank = factorise(predicted, maskable & ~predicted, rng, block=self.kept(batch))
        at, labels = gather_places(predicted, batch.ids)
        place = np.arange(batch.size)
        return batch.but(predicted=predicted, rank=rank, query_at=at, labels=labels, place=place)

    def choose(self, batch: Batch, maskable: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Which tokens are predicted: bool b t; the share is kept in each stretch of a row."""
        b, t = maskable.shape
        size = self.kept(batch)
        whole = t // size * size
        chosen = np.zeros_like(maskable)
        for here, width in ((slice(0, whole), size), (slice(whole, t), t - whole)):
            if width:  # each stretch is a row of its own
                free = maskable[:, here].reshape(-1, width)
                words = batch.word_starts[:, here].reshape(-1, width) if "word_starts" in batch else None
                wanted = budget(free, rate=self.config.rate)
                chosen[:, here] = choose_spans(free, rng, wanted=wanted, word_starts=words).reshape(b, -1)
        return chosen

    def kept(self, batch: Batch) -> int:
        """How many tokens of a row later rows may remember; also the length of a stretch with an order of its own."""
        return max(1, round(self.config.reuse * batch.ids.shape[1]))

    def finish(self, batch: Batch) -> Batch:
        return batch

    # ---- who sees whom ----

    def visible(self, batch: Batch) -> Rule:
        return own_document(batch, content(batch.rank, batch.predicted))

    def asked(self, batch: Batch) -> Rule:
        """What the query stream sees, by places in the row."""
        return own_document(batch, query(batch.rank, batch.predicted))

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        (b, t), at, device = batch.ids.shape, batch.query_at, batch.ids.device
        of_place = self.asked(batch)

        def asks(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return of_place(b, h, at[b, q], k)

        before = self._before(batch)
        if before is None:
            seen, looks = self.visible(batch), asks
        else:
            past = self.config.memory
            seen = both(after_memory(past, self.visible(batch)), remembers(batch, before, past))
            looks = both(after_memory(past, asks), remembers(batch, before, past, at=at))
            t += past
            options["memory"] = before.states
        asked = Query(at, see(looks, b, at.shape[1], t, device=device))
        return backbone(batch, see(seen, b, batch.ids.shape[1], t, device=device), query=asked, **options)

    # ---- loss ----

    def scores(self, out: Output) -> Tensor:
        """A score for each token of the vocabulary at each place of the query stream."""
        return self.head(out.query_states.flatten(0, 1))  # type: ignore[union-attr]

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        return {self.losses[0]: head_loss(self.head, out.query_states.flatten(0, 1), batch.labels.flatten())}  # type: ignore[union-attr]

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        labels = batch.labels.flatten()
        return {"accuracy": Sum(accuracy(self.scores(out), labels), (labels >= 0).sum())}

    def baselines(self, facts: Facts) -> dict[str, float]:
        return token_baselines(facts, facts.counts, ~facts.is_special())


def gather_places(predicted: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the predicted tokens, b m, and the tokens there; rows with fewer are filled with place 0 and IGNORE."""
    places = np.arange(ids.size, dtype=np.int32).reshape(ids.shape)  # of the rows end to end
    at, real = pack(places, predicted, pad=0, multiple=8)
    return at % ids.shape[1], np.where(real, ids.reshape(-1)[at], IGNORE)
