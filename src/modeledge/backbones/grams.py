"""A word's vector is the mean of its own and of those of its character n-grams, so that words never met have one too.

Source: fastText, arXiv:1607.04606 §3.2 (n-grams of 3 to 6 characters of <word>, hashed to 2 million rows); hash and
mean as in the released tool. As in backbones/table.py the state of a word does not depend on what stands beside it;
each distinct word of a batch is computed once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from modeledge.backbones._levels import Levels
from modeledge.core import Batch, Facts, Output, Part, PartConfig
from modeledge.visibility import Seen

OFFSET, PRIME = 2166136261, 16777619
"""Of the 32-bit FNV-1a hash."""


class Ragged(NamedTuple):
    """The n-grams of words, one word after the other: the row of each, and how many each word has."""

    rows: Int[np.ndarray, " n"]
    sizes: Int[np.ndarray, " w"]


class Grams(nn.Module, Part):
    """Words of the tokenizer by id; any others by `spell`."""

    gram_rows: Tensor
    gram_ends: Tensor

    class Config(PartConfig):
        """width: of a vector; shortest, longest: characters of an n-gram, the marks < and > around a word counted;
        buckets: rows that n-grams share by their hash."""

        width: int = Field(100, ge=1)
        shortest: int = Field(3, ge=2)
        longest: int = Field(6, ge=2)
        buckets: int = Field(2_000_000, ge=1)

        @model_validator(mode="after")
        def _order(self) -> Grams.Config:
            if self.longest < self.shortest:
                raise ValueError(f"longest: {self.longest} is less than shortest: {self.shortest}")
            return self

    def __init__(self, config: Config, facts: Facts):
        super().__init__()
        self.config, self.width = config, config.width
        self.embed, self.grams = nn.Embedding(facts.vocab, config.width), nn.Embedding(config.buckets, config.width)
        for table in (self.embed, self.grams):
            nn.init.uniform_(table.weight, -1 / config.width, 1 / config.width)
        words = [""] * facts.vocab
        if facts.tokenizer is not None:
            words = ["" if s else w for w, s in zip(facts.tokenizer.pieces.tokens, facts.is_special(), strict=True)]
        found = self.find(words)  # what the tokenizer says is not saved with the model
        self.register_buffer("gram_rows", torch.from_numpy(found.rows), persistent=False)
        self.register_buffer("gram_ends", torch.from_numpy(np.append(0, np.cumsum(found.sizes))), persistent=False)

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        return [("embed", "grams")]

    def find(self, words: Sequence[str]) -> Ragged:
        """The n-grams of these words; "" has none."""
        hashed, sizes = gram_hashes(words, shortest=self.config.shortest, longest=self.config.longest)
        return Ragged(hashed.astype(np.int64) % self.config.buckets, sizes)

    def forward(
        self, batch: Batch, seen: Seen | None = None, *, keep: Collection[str] = (), cache: object | None = None
    ) -> Output:
        """The vector of each word; what a word may see makes no difference. `keep`: "embedding"."""
        distinct, where = batch.ids.unique(return_inverse=True)
        states: Float[Tensor, "b t d"] = self.of(distinct)[where]
        return Output(states, kept={"embedding": states} if "embedding" in keep else {})

    def of(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """The vectors of words of the vocabulary."""
        begin, sizes = self.gram_ends[ids], self.gram_ends[ids + 1] - self.gram_ends[ids]
        first = sizes.cumsum(0) - sizes
        places = torch.arange(int(sizes.sum()), device=ids.device) + (begin - first).repeat_interleave(sizes)
        return (self.embed(ids) + self.added(self.gram_rows[places], first)) / (1 + sizes)[:, None]

    def spell(self, words: Sequence[str]) -> Float[Tensor, "n d"]:
        """The vectors of words by their n-grams alone; zeros for one that has none."""
        rows, sizes = (torch.from_numpy(part).to(self.grams.weight.device) for part in self.find(words))
        return self.added(rows, sizes.cumsum(0) - sizes) / sizes.clamp(min=1)[:, None]

    def added(self, rows: Int[Tensor, " n"], first: Int[Tensor, " w"]) -> Float[Tensor, "w d"]:
        """The sums of the n-grams' rows of each word, whose own begin at `first`."""
        return F.embedding_bag(rows, self.grams.weight, first, mode="sum")


def gram_hashes(
    words: Sequence[str], *, shortest: int, longest: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint32]], Int[np.ndarray, " w"]]:
    """The hashes of all n-grams of `<word>`, one word after the other, each word's by length; and how many each has.

    FNV-1a over UTF-8 bytes, each widened with its sign, as the released tool does."""
    spelt = [f"<{word}>".encode() if word else b"" for word in words]
    data = np.frombuffer(b"".join(spelt) or b"\0", np.uint8)
    starts = np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data))  # where each character begins
    owner = np.repeat(np.arange(len(words)), [len(part) for part in spelt])
    owner = owner[starts[:-1]] if len(owner) else owner
    wide = data.astype(np.int8).astype(np.int32).view(np.uint32)
    hashes, owners = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)]
    for n in range(shortest, longest + 1):
        place = np.arange(max(0, len(owner) - n + 1))
        place = place[owner[place] == owner[place + n - 1]]
        begin, size = starts[place], starts[place + n] - starts[place]
        h = np.full(len(place), OFFSET, np.uint32)
        for i in range(int(size.max(initial=0))):
            inside = i < size
            h[inside] = (h[inside] ^ wide[begin[inside] + i]) * np.uint32(PRIME)
        hashes.append(h)
        owners.append(owner[place])
    flat = np.concatenate(owners)
    order = np.argsort(flat, kind="stable")
    return np.concatenate(hashes)[order], np.bincount(flat, minlength=len(words)).astype(np.int64)
