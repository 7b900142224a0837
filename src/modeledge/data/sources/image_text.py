"""Pictures with the text that belongs to each."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Facts, PartConfig
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame, Range
from modeledge.data.store import Store


class ImageText(Source):
    """`image` b H W 3 uint8 and the text as [cls] tokens [sep], cut to the length."""

    class Config(PartConfig):
        """length: tokens of the text, special ones included."""

        length: int = Field(77, ge=4)

    reads = "pairs"

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        self.offsets = np.asarray(self.store.offsets("tokens"))
        self.number(len(self.store["image"]))

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        begin = self.offsets[index]
        size = np.minimum(self.offsets[index + 1] - begin, self.frame.room(self.config.length))
        text = self.frame.lay(self.store, [Range(begin, size)], self.config.length)
        return Batch(image=self.store["image"][index], **text)
