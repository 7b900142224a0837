"""Say what a picture shows: supervised pre-training of vision backbones, and their fine-tuning.

Sources: ResNet, arXiv:1512.03385 §4.1; ViT, arXiv:2010.11929 §3.1-3.2 (the head of fine-tuning starts at zero); frozen
features, arXiv:1411.1792.
Not here: contrast with text (contrast.py), mix-up."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import (
    IGNORE,
    Batch,
    Facts,
    InputError,
    Output,
    PartConfig,
    RecipeError,
    Slot,
    Sum,
    build,
    part,
)
from modeledge.losses.cross_entropy import accuracy, cross_entropy
from modeledge.objectives import Objective, class_baselines
from modeledge.objectives._show import Show, show
from modeledge.visibility import Seen


class ImageLabel(Objective):
    """A head on the picture's vector; it starts at zero, so that every class is equally likely at first."""

    class Config(Objective.Config):
        """show: how pictures are cut in training; smoothing: the target's share that goes evenly to all classes; train:
        the whole model, or the head alone on features of the backbone as it is; head: from the vector to scores."""

        show: Show = Show()
        smoothing: float = Field(0.0, ge=0, lt=1)
        train: Literal["all", "head"] = "all"
        head: Annotated[PartConfig, Slot("heads")] = part("classifier", start="zero")

    config: Config
    needs = ("image", "label")

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        self.names = facts.labels.get(config.on or "label") or facts.labels.get("label") or []
        if not self.names:
            raise InputError(
                f"objective {config.name or config.kind!r}: the data has no classes\n"
                "  next: prepare pictures with labels (a folder a class, or --column label=COLUMN)"
            )
        if len(self.names) < 2:
            raise InputError(
                f"objective {config.name or config.kind!r}: every picture is of the class {self.names[0]!r}, there is "
                "nothing to tell apart\n  next: prepare a folder of folders, one a class"
            )
        self.head = build("heads", config.head, facts, backbone, outputs=len(self.names))
        if config.train == "head":
            backbone.requires_grad_(False)

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        return batch.but(image=show(batch.image, rng, self.config.show, training=self.training))

    def counts(self, batch: Batch) -> dict[str, float]:
        return {self.losses[0]: float((batch.label != IGNORE).sum())}

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        if self.config.train == "all":
            return backbone(batch, Seen(), **options)
        backbone.eval()  # no dropout and no moving statistics in what is only read
        with torch.no_grad():
            return backbone(batch, Seen(), **options)

    def scores(self, out: Output) -> Float[Tensor, "b c"]:
        """The score of each class. Raises RecipeError if the backbone gives no vector for a picture."""
        if out.pooled is None:
            raise RecipeError(
                f"backbone: {self.losses[0]} reads one vector a picture and this backbone gives none\n"
                "  next: give it a `pool`"
            )
        return self.head(out.pooled)

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        return {self.losses[0]: cross_entropy(self.scores(out), batch.label, smoothing=self.config.smoothing)}

    def predict(self, out: Output, batch: Batch) -> Float[Tensor, "b c"]:
        """The probability of each class."""
        return self.scores(out).float().softmax(-1)

    def metrics(self, out: Output, batch: Batch) -> dict[str, Sum]:
        scores, counted = self.scores(out), batch.label != IGNORE
        best = scores.topk(min(5, scores.shape[1])).indices
        among = (best == batch.label[:, None]).any(1) & counted
        n = counted.sum()
        return {"accuracy": Sum(accuracy(scores, batch.label), n), "top5": Sum(among.sum(), n)}

    def baselines(self, facts: Facts) -> dict[str, float]:
        return class_baselines(len(self.names), facts, self.config.on)
