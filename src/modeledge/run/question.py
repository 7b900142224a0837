"""What is asked of a model, and how it is taught: plain values that the command line and experiments fill in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modeledge.data.tables import Table


@dataclass(frozen=True)
class Question:
    """A task and its data: a csv, tsv, jsonl or parquet file, a `datasets` folder, a prepared store, or an open table.

    task     classify, classify_pair, regress, tag, span_qa, choice, embed, hops, text_to_text; image_label for a store
             of pictures
    valid    rows to judge on (default: those that lie beside the training file, x.valid.* beside x.train.*, or the part
             of a store that was held out)
    columns  role -> column: text, second, label, choices (several columns, or one with a list)
    length   tokens a row (default: the task's own, at most what the model has places for)
    orders   both: a pair whose order means nothing is read in both (GPT's similarity)
    long     what is read of a text that is too long: cut, its beginning (of a passage, windows); recall, the blocks of
             it that a judge picks (CogLTX)
    metric   the figure it is known by (default: the task's own)
    name     what it is called in tables (default: the task)"""

    task: str
    data: str | Path | Table
    valid: str | Path | None = None
    columns: dict[str, str | Sequence[str]] | None = None
    length: int | None = None
    orders: Literal["given", "both"] = "given"
    long: Literal["cut", "recall"] = "cut"
    metric: str = ""
    name: str = ""


@dataclass(frozen=True)
class Tuning:
    """How a model is taught.

    epochs     passes over the rows, but at most `most` steps (0: no bound) and at least `least`
    batch      rows a step, at most as many as there are
    lr         peak learning rate (default: 5e-5 at width 768, more for narrower models, 1e-3 for a head alone)
    train      the whole model, or only the head on frozen features; mix: of all layers, by learned weights (ELMo)
    auxiliary  weight of the pre-training language model beside the task (GPT: 0.5)
    labels     only so many training rows, a plain sample drawn with the seed: the same rows for every model
    layer_decay  the rate of a layer over that of the layer above it (ULMFiT: 1/2.6)
    unfreeze   epochs from one group of layers to the next: the head alone is trained first, then what lies below it
               joins from the top down (0: everything from the beginning; ULMFiT: 1)
    scratch    begin with fresh weights of the same shape
    sets       overrides of the resulting recipe, e.g. optim.weight_decay=0"""

    epochs: float = 3.0
    most: int = 0
    least: int = 0
    batch: int = 32
    lr: float | None = None
    train: Literal["all", "head"] = "all"
    mix: bool = False
    auxiliary: float = 0.0
    labels: int | None = None
    layer_decay: float = 1.0
    unfreeze: float = 0.0
    scratch: bool = False
    sets: tuple[str, ...] = ()


PLAIN = Tuning()
