"""Pictures, with their labels where there are some."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch, Facts, PartConfig
from modeledge.data.sources import Source
from modeledge.data.store import Store


class Images(Source):
    """`image` b H W 3 uint8 as stored, and `label` [b] (class numbers, or numbers)."""

    class Config(PartConfig):
        """Nothing to set: how pictures are cut is the objective's business."""

    reads = "images"

    def __init__(self, config: Any, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.labels = list(self.store.meta.get("labels") or [])
        self.number(len(self.store["image"]))

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        batch = Batch(image=self.store["image"][index])
        if "label" in self.store:
            label = self.store["label"][index]
            batch["label"] = label.astype(np.int64) if label.dtype.kind == "i" else label
        return batch
