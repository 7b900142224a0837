"""Tell which text of the batch belongs to which picture, and the reverse.

Source: CLIP, arXiv:2103.00020 §2.3-2.4. Not here: queues of earlier keys and momentum twins."""

from __future__ import annotations

import hashlib
import math
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Output, Sum
from modeledge.losses.contrastive import Targets, spread, symmetric_info_nce
from modeledge.losses.products import products
from modeledge.objectives import Objective, Rule, own_document
from modeledge.objectives._gather import gather
from modeledge.objectives._show import Show, show
from modeledge.visibility import Seen, see
from modeledge.visibility.causal import causal
from modeledge.visibility.full import full


class Contrast(Objective):
    """Symmetric InfoNCE over all pairs of the batch, of all processes, with a learned scale."""

    class Config(Objective.Config):
        """show: how pictures are cut in training; sees: what a token of the text sees; positives: only one's own
        partner, or every row with the same text or the same picture too (they are no negatives); temperature: one over
        the scale at the start; largest: the scale never exceeds it."""

        show: Show = Show()
        sees: Literal["causal", "full"] = "causal"
        positives: Literal["own", "same"] = "own"
        temperature: float = Field(0.07, gt=0)
        largest: float = Field(100.0, gt=0)

    config: Config
    needs = ("image", "ids")
    whole_batch = True

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__(config, facts, backbone)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        image = show(batch.image, rng, self.config.show, training=self.training)
        if self.config.positives == "same":
            batch = batch.but(text_key=keys(batch.ids), image_key=keys(batch.image))
        return batch.but(image=image)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float(batch.size)}

    def visible(self, batch: Batch) -> Rule:
        """Of the text. Causal text is pooled at its end, so that what follows needs no mask."""
        return causal if self.config.sees == "causal" else own_document(batch, full)

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        text = Seen()
        if "ids" in batch:
            batch = self.until_end(batch)
            b, t = batch.ids.shape
            text = see(self.visible(batch), b, t, device=batch.ids.device)
        return backbone(batch, {"image": Seen(), "text": text}, **options)

    def until_end(self, batch: Batch) -> Batch:
        """The text ends with its first end token, whatever follows; left as it is where the tokenizer has none.

        The first token ends nothing: in GPT-2's vocabulary one token begins and ends."""
        if "eos" not in self.facts.special:
            return batch
        end = batch.ids == self.facts.special["eos"]
        end[:, 0] = False
        valid = end.cumsum(1) - end.long() == 0
        return batch.but(valid=valid & batch.valid if "valid" in batch else valid)

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Float[Tensor, "b d"]]:
        """Unit vectors of what the batch has: `image`, `text`, or both."""
        return unit(self.run(backbone, batch))

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        vectors = unit(out)
        image, text = vectors["image"], vectors["text"]
        if not self.training:  # every process evaluates by itself
            targets = self.targets(batch, 0, lambda x: x)
            return {self.losses[0]: symmetric_info_nce(image, text, targets, scale=self.scale())}
        (all_image, first), (all_text, _) = gather(image), gather(text)
        targets = self.targets(batch, first, lambda x: gather(x)[0])
        total = symmetric_info_nce(image, text, targets, scale=self.scale(), all_left=all_image, all_right=all_text)
        return {self.losses[0]: total}

    def targets(self, batch: Batch, first: int, everywhere: Any) -> Targets:
        """Where each row's partner stands among all rows; or how the target is spread over its partners."""
        own = torch.arange(batch.size, device=self.log_scale.device) + first
        if self.config.positives == "own":
            return own
        same = [batch[k][:, None] == everywhere(batch[k])[None, :] for k in ("text_key", "image_key")]
        return spread(same[0] | same[1])

    def scale(self) -> Float[Tensor, ""]:
        """The factor of the cosine similarities."""
        return self.log_scale.exp()

    def after_step(self, step: int) -> None:
        with torch.no_grad():  # the parameter is held, not its effect, so that it can come back
            self.log_scale.clamp_(max=math.log(self.config.largest))

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        vectors = unit(out)
        scores = products(vectors["image"], vectors["text"])
        own = torch.arange(len(scores), device=scores.device)
        n = torch.full((), len(scores), device=scores.device)
        return {
            "image_to_text": Sum((scores.argmax(1) == own).sum(), n),
            "text_to_image": Sum((scores.argmax(0) == own).sum(), n),
        }


def keys(rows: Shaped[np.ndarray, "b ..."]) -> Int[np.ndarray, " b"]:
    """A number for each row that is the same exactly if the rows are, in whichever process it is made."""
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
    return np.frombuffer(b"".join(digests), np.int64).copy()


def unit(out: Output) -> dict[str, Float[Tensor, "b d"]]:
    """Each tower's vector at length one, in fp32."""
    return {name: F.normalize(tower.pooled.float(), dim=-1) for name, tower in out.towers.items()}
