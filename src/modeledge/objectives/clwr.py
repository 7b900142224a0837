"""Cross-lingual word recovery: a sentence is told from the words of its translation, mixed by attention.

Source: Unicoder, arXiv:1909.00964 §3.2: x_i becomes s_i = sum_j a_ij y_j with a_ij = softmax_j W [x_i; y_j; x_i * y_j];
the encoder reads the s_i and recovers the x_i. Not here: translations or not (nsp.py on `translations`)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from modeledge.core import IGNORE, Batch, Facts, PartConfig, Slot, Sum, build, part
from modeledge.heads import linear
from modeledge.losses.cross_entropy import accuracy, head_loss
from modeledge.objectives import Objective, own_document, token_baselines
from modeledge.visibility import see
from modeledge.visibility.full import full


class WordRecovery(Objective):
    """Reads pairs as two texts of a row (ids b 2 t); either is the one to recover, by turns."""

    class Config(Objective.Config):
        """head: from states to token scores."""

        head: Annotated[PartConfig, Slot("heads")] = part("token", transform="none")

    config: Config
    needs = ("ids", "valid", "special")

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        self.head = build("heads", config.head, facts, backbone)
        self.weigh = linear(3 * backbone.embedding.width, 1, bias=False)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        side = np.where((rng.random(batch.size) < 0.5)[:, None], [[1, 0]], [[0, 1]])
        fields = [name for name in ("ids", "valid", "lang", "special") if name in batch]
        batch = batch.but(**{k: np.take_along_axis(batch[k], side[:, :, None], axis=1) for k in fields})
        labels = np.where(batch.special, np.int64(IGNORE), batch.ids)
        labels[:, 1] = IGNORE  # only the first text is recovered
        return batch.but(labels=labels)

    def finish(self, batch: Batch) -> Batch:
        return batch

    def attention(
        self, x: Float[Tensor, "b t e"], y: Float[Tensor, "b s e"], readable: Bool[Tensor, "b s"]
    ) -> Float[Tensor, "b t s"]:
        """How much of each word of the translation stands for a word: rows add up to 1 over the readable words.

        W [x_i; y_j; x_i * y_j] is taken apart into three products, so that nothing of b t s e is held."""
        one, two, both = self.weigh.weight[0].chunk(3)
        scores = (x @ one)[:, :, None] + (y @ two)[:, None] + (x * both) @ y.mT
        return scores.masked_fill(~readable[:, None], float("-inf")).softmax(-1)

    def asked(self, backbone: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """The states of the words to recover (m d), and the words."""
        sides = [Batch({k: v[:, i] for k, v in batch.items() if v.ndim == 3}) for i in (0, 1)]
        x, y = (backbone.embed(text.ids) for text in sides)
        real = [s.valid if "valid" in s else torch.ones_like(s.ids, dtype=torch.bool) for s in sides]
        words = [ok & ~s.special for ok, s in zip(real, sides, strict=True)]
        mixed = self.attention(x, y, words[1]).to(y.dtype) @ y
        shown = torch.where(words[0][..., None], mixed, x)
        seen = see(own_document(sides[0], full), *sides[0].ids.shape, device=x.device)
        states = backbone(sides[0].but(embedded=shown), seen).states
        return states[words[0]], sides[0].labels[words[0]]

    def forward(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        return {self.losses[0]: head_loss(self.head, *self.asked(backbone, batch))}

    def measure(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        states, labels = self.asked(backbone, batch)
        return {"accuracy": Sum(accuracy(self.head(states), labels), (labels >= 0).sum())}

    def baselines(self, facts: Facts) -> dict[str, float]:
        return token_baselines(facts, facts.counts, ~facts.is_special())
