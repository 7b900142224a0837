"""Say how two texts relate, reading one in the light of the other over several steps.

Source: pairwise text classification in MT-DNN, arXiv:1901.11504 §3. Not here: one layer on the row's vector
(classify.py)."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from modeledge.core import Batch, Output, PartConfig, Slot, part
from modeledge.objectives._task import Task
from modeledge.objectives.classify import Classify


class ClassifyPair(Classify):
    """The head reads the states of the first text (the premise), and begins with those of the second."""

    needs = ("ids", "segments")

    class Config(Task.Config):
        """head: reads states, and which of them belong to the first and to the second text."""

        head: Annotated[PartConfig | None, Slot("heads")] = part("stochastic_answer")

    def scores(self, out: Output, batch: Batch) -> Float[Tensor, "b c"]:
        """The log-probability of each class."""
        second = batch.segments == 1
        valid = batch.valid if "valid" in batch else torch.ones_like(second)
        return self.head(self.states(out, batch), ~second & valid, second & valid)
