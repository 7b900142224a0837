"""Pictures, with their labels where there are some."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from modeledge.core import Batch, DataError, Facts, PartConfig, unknown
from modeledge.data.sources import Source
from modeledge.data.store import Store


class Images(Source):
    """`image` b H W 3 uint8 as stored, and `label` [b] (class numbers, or numbers). How pictures are cut is the
    objective's business."""

    class Config(PartConfig):
        """labels: names of the classes by number (default: those of the store); target: what the labels are (none:
        there are none, e.g. to predict)."""

        labels: tuple[str, ...] | None = None
        target: Literal["class", "none"] = "class"

    reads = "images"

    def __init__(self, config: Any, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        named = list(self.store.meta.get("labels") or [])
        self.labels = named if config.labels is None else list(config.labels)
        self.label = None
        if config.target == "class" and "label" in self.store:
            self.label = self._numbered(named)
        self.number(len(self.store["image"]))

    def _numbered(self, named: list[str]) -> np.ndarray:
        """The rows' labels, classes by their places in `labels`. Raises DataError for one that is not there."""
        label = np.asarray(self.store["label"])
        if label.dtype.kind != "i":
            return label
        if self.labels == named:
            return label.astype(np.int64)
        for name in (named[i] for i in np.unique(label) if named[i] not in self.labels):
            raise DataError(unknown(f"{self.store.path}: label", "class in training", name, self.labels))
        place = np.array([self.labels.index(name) if name in self.labels else -1 for name in named])
        return place[label]

    def class_counts(self) -> Int[np.ndarray, " c"] | None:
        if self.label is None or self.label.dtype.kind != "i":
            return None
        return np.bincount(self.label[self.label >= 0], minlength=len(self.labels))

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        batch = Batch(image=self.store["image"][index])
        if self.label is not None:
            batch["label"] = self.label[index]
        return batch
