"""Rows of a labelled table whose texts are longer than the model: a row is the question and some blocks of the text.

Source: CogLTX (NeurIPS 2020) §3: blocks stand in the order of the text, each with the family's end token behind it.
Which blocks a row shows is another's business (`fill`); to begin with, the first that there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int
from pydantic import Field

from modeledge.core import Facts, InputError, PartConfig
from modeledge.data.sources._cuts import cut_blocks, mark_costs
from modeledge.data.sources._forms import find_span
from modeledge.data.sources._rows import Limit, Rows
from modeledge.data.sources._table_forms import answers_of
from modeledge.data.sources.table import _FILLS, LabelledTable

LONGEST = 1 << 16
"""Tokens of a text that are read at all."""
Shown = tuple[int, Int[np.ndarray, " k"]]
"""A text's number and the numbers of the blocks of it that are shown, ascending."""


@dataclass
class Picked:
    """Texts that were read before, and the rows to make of them, where a source takes a table; for each text and
    block, whether it is relevant, where that is known."""

    source: Blocks
    shown: Sequence[Shown]
    relevant: Sequence[Bool[np.ndarray, " n"]] | None = None
    valid = train = None

    @property
    def path(self) -> Path:
        """Where the texts come from."""
        return self.source.store.path

    @property
    def meta(self) -> dict[str, Any]:
        """What the texts come from."""
        return self.source.store.meta

    def part(self, split: str) -> Picked:
        """Itself."""
        return self


class Blocks(LabelledTable):
    """The fields of a table's rows of the same form, and `block` b t, which of the row's blocks a token belongs to (-1:
    the question); with known relevance, `relevant` b t. The question may fill half of a row."""

    class Config(PartConfig):
        """length: tokens a row at most; block: tokens a block at most; text, second: the long text, or the question and
        the long text; the rest as in a table."""

        length: int = Field(512, ge=16, le=LONGEST)
        block: int = Field(63, ge=1)
        form: Literal["text", "span"] = "text"
        target: Literal["class", "number", "none"] = "class"
        text: str = "text"
        second: str | None = None
        label: str = "label"
        labels: tuple[str, ...] | None = None
        limit: Limit | None = None

    def __init__(self, config: Config, store: Any, facts: Facts, split: str = "train"):
        if isinstance(store, Picked):
            vars(self).update(vars(store.source))
            self.fill(store.shown, store.relevant)
            return
        whole = config.model_dump(exclude={"kind", "block", "length"}) | {
            "kind": "table",
            "length": LONGEST,
            "stride": 0,
        }
        super().__init__(LabelledTable.Config.model_validate(whole), store, facts, split)  # type: ignore[arg-type]
        self.config = config
        self.whole, self.texts, self.truncated = self.table, self.owner, 0
        self.extra = {}
        self._cut(mark_costs(facts.tokenizer.pieces.tokens))
        self.fill([(i, self.first(i)) for i in range(len(self.whole))])

    def _cut(self, costs: np.ndarray) -> None:
        """Find the question, the end tokens and the blocks of every text, as places of the flat columns."""
        frame = self.facts.tokenizer.frame(pair=self.config.second is not None)
        before, between, after = len(frame.before), len(frame.between), len(frame.after)
        if self.config.second is not None and not between:
            raise InputError(f"{self.store.path}: the model's tokenizer puts nothing between a question and a text")
        ids, special = self.whole.fields["ids"], self.whole.fields["special"]
        self.heads: list[np.ndarray] = []
        self.tails: list[np.ndarray] = []
        self.blocks: list[np.ndarray] = []
        for begin, size in zip(self.whole.begins, self.whole.sizes, strict=True):
            end = begin + size - after
            start = begin + before
            if self.config.second is not None:
                start += int(np.argmax(special[start:end])) + between
            asked = np.arange(begin, start - between)[: self.config.length // 2]
            self.heads.append(np.concatenate([asked, np.arange(start - between, start)]))
            self.tails.append(np.arange(end, begin + size))
            self.blocks.append(start + cut_blocks(costs[ids[start:end]], self.config.block))

    # -- rows ---------------------------------------------------------------------------------------------------------

    def sizes(self, text: int) -> Int[np.ndarray, " n"]:
        """Tokens of each block of a text, its end token included."""
        return np.diff(self.blocks[text], axis=1)[:, 0] + len(self.tails[text])

    def room(self, text: int) -> int:
        """Tokens that a row has for blocks."""
        return self.config.length - len(self.heads[text])

    def first(self, text: int) -> Int[np.ndarray, " k"]:
        """The first blocks that there is room for."""
        fits = np.cumsum(self.sizes(text)) <= self.room(text)
        return np.arange(max(1, int(fits.sum())))

    def fill(self, shown: Sequence[Shown], relevant: Sequence[Bool[np.ndarray, " n"]] | None = None) -> None:
        """From now on the rows are these."""
        self.shown = list(shown)
        rows = [self._row(text, chosen, relevant) for text, chosen in self.shown]
        self.table = Rows(rows, _FILLS | {"ids": self.facts.pad, "block": -1})
        text = np.array([t for t, _ in self.shown], np.int64)
        self.owner = self.texts[text]
        if self.config.form == "span" and self.config.target != "none":
            ends = np.array([self._answer(r, o) for r, o in zip(rows, self.owner, strict=True)], np.int64)
            self.extra = {"begins": ends[:, 0], "ends": ends[:, 1]}
        self.number(len(rows))

    def _row(
        self, text: int, chosen: np.ndarray, relevant: Sequence[Bool[np.ndarray, " n"]] | None
    ) -> dict[str, np.ndarray]:
        head, tail = self.heads[text], self.tails[text]
        parts = [np.append(np.arange(*self.blocks[text][i]), tail) for i in chosen]
        number = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
        at = np.concatenate([head, *parts]).astype(np.int64)
        row = {name: flat[at] for name, flat in self.whole.fields.items()}
        row["block"] = np.concatenate([np.full(len(head), -1), number]).astype(np.int16)
        if relevant is not None:
            row["relevant"] = np.concatenate([np.zeros(len(head), bool), relevant[text][chosen][number]])
        return {name: values[: self.config.length] for name, values in row.items()}

    def _answer(self, row: dict[str, np.ndarray], owner: int) -> tuple[int, int]:
        """The tokens of the answer; (0, 0) where the row does not show all of it."""
        known = answers_of(self.records[owner], self.config)
        if not known:
            return 0, 0
        answer, begin = known[0]
        spans = row["passage_spans"]
        first, last = find_span(spans, begin, begin + len(answer))
        whole = spans[first, 0] <= begin and spans[last, 1] >= begin + len(answer)
        return (first, last) if whole else (0, 0)

    def crucial(self, text: int) -> Bool[np.ndarray, " n"]:
        """Which blocks hold some of the answer; none where the answer is not a span."""
        found = np.zeros(len(self.blocks[text]), bool)
        if self.config.form != "span" or self.config.target == "none":
            return found
        spans = self.whole.fields["passage_spans"]
        for answer, begin in answers_of(self.records[self.texts[text]], self.config)[:1]:
            inside = [
                (spans[slice(*b), 0] < begin + len(answer)) & (spans[slice(*b), 1] > begin) for b in self.blocks[text]
            ]
            found |= np.array([bool(i.any()) for i in inside])
        return found

    def words(self, text: int, block: int) -> Int[np.ndarray, " n"]:
        """The ids of a block."""
        return self.whole.fields["ids"][slice(*self.blocks[text][block])]

    def question(self, text: int) -> Int[np.ndarray, " n"]:
        """The ids of the question, without special tokens."""
        at = self.heads[text]
        return self.whole.fields["ids"][at[~self.whole.fields["special"][at]]]
