"""Write text with a trained model: continue a prompt, answer an input, or fill masks one after the other.

What is read once is kept (keys and values), so that a step costs one token. Which token is written is the search's
business (search.py)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from modeledge.core import Batch, InputError
from modeledge.objectives import Objective
from modeledge.objectives.clm import CausalLM
from modeledge.objectives.infill import Infill
from modeledge.objectives.mlm import MaskedLM
from modeledge.objectives.rag import Rag
from modeledge.objectives.seq2seq import Seq2Seq
from modeledge.run.marginal import Mixing, write_sequences
from modeledge.run.search import Beam, Greedy, Reader, Sample, beams, one_by_one
from modeledge.visibility import both, see
from modeledge.visibility.causal import causal
from modeledge.visibility.full import full
from modeledge.visibility.prefix import prefix
from modeledge.visibility.valid import valid

GREEDY = Greedy()


@torch.no_grad()
def generate(
    backbone: nn.Module,
    objective: Objective,
    batch: Batch,
    how: Greedy | Sample | Beam = GREEDY,
    *,
    limit: int,
    rng: torch.Generator | None = None,
) -> Int[Tensor, "b n"]:
    """Up to `limit` tokens for each row of `batch` (tensors), the end token included, padding after it.

    The batch holds prompts for a causal model, inputs for an encoder-decoder, [cls] source [sep] for a masked model
    with a prefix, and texts for a model that fills blanks, which writes what their first mask stands for; `valid` tells
    padding, on either side. The model is put into evaluation mode while it writes.
    Raises InputError if prompt and text do not fit the model, or the model cannot write."""
    special = objective.facts.special
    end = objective.end if isinstance(objective, Infill) else special.get("eos", special.get("sep", -1))
    training = [module for module in (backbone, objective) if module.training]
    for module in training:
        module.eval()
    try:
        if isinstance(objective, Rag):
            return write_with_passages(backbone, objective, batch, how, limit=limit, rng=rng)
        reader = reader_of(backbone, objective, batch, limit=limit)
        if isinstance(how, Beam):
            return beams(reader, how, limit=limit, end=end, pad=objective.facts.pad)
        return one_by_one(reader, how, limit=limit, end=end, pad=objective.facts.pad, rng=rng)
    finally:
        for module in training:
            module.train()


def write_with_passages(
    backbone: Any,
    objective: Rag,
    batch: Batch,
    how: Greedy | Sample | Beam,
    *,
    limit: int,
    rng: torch.Generator | None,
) -> Int[Tensor, "b n"]:
    """`generate` for a model that looks passages up first."""
    check_room(backbone.reader, limit)
    found = objective.find(backbone, batch)
    inner = Answering(backbone.reader, objective, found.rows)
    if objective.config.marginal == "sequence":
        return write_sequences(backbone, objective, inner, found, how, limit=limit)
    reader = Mixing(inner, found.prior)
    if isinstance(how, Beam):
        return beams(reader, how, limit=limit, end=objective.end, pad=objective.facts.pad)
    return one_by_one(reader, how, limit=limit, end=objective.end, pad=objective.facts.pad, rng=rng)


def reader_of(backbone: nn.Module, objective: Objective, batch: Batch, *, limit: int) -> Reader:
    """How this objective's model reads what it has written. Raises InputError if it cannot write."""
    if isinstance(objective, CausalLM) and hasattr(backbone, "new_cache"):
        check_room(backbone, batch.ids.shape[1] + limit)
        return Continuing(backbone, objective.head, padded_in_front(batch))
    if isinstance(objective, Seq2Seq):
        check_room(backbone, limit)
        return Answering(backbone, objective, batch)
    if isinstance(objective, MaskedLM) and objective.config.visible.rule in ("prefix", "causal"):
        check_room(backbone, batch.ids.shape[1] + limit)  # a mask stands where the last token will
        return Filling(backbone, objective, padded_in_front(batch))
    if isinstance(objective, Infill):
        check_room(backbone, batch.ids.shape[1])
        return Infilling(backbone, objective, padded_in_front(batch))
    raise InputError(
        f"generate: objective {objective.losses[0]!r} does not write text\n"
        "  known: clm, infill, seq2seq, denoise, and mlm under a prefix or causal visibility"
    )


def check_room(backbone: nn.Module, length: int) -> None:
    """Raise InputError if the model has no place for so many tokens."""
    positions: Any = getattr(getattr(backbone, "config", None), "positions", None)
    most = getattr(positions, "max", None)
    if most is not None and length > most - positions.offset:
        raise InputError(
            f"generate: {length} tokens of prompt and text, and the model has {most - positions.offset} places\n"
            "  next: a shorter prompt or a smaller limit"
        )


def padded_in_front(batch: Batch) -> Batch:
    """ids and valid with the padding of each row moved to its front, so that all texts go on at one column."""
    if "valid" not in batch:
        return Batch(ids=batch.ids)
    t = batch.ids.shape[1]
    order = torch.argsort(batch.valid.int(), dim=1, stable=True)
    count = batch.valid.sum(dim=1, keepdim=True)
    return Batch(ids=batch.ids.gather(1, order), valid=torch.arange(t, device=batch.ids.device) >= t - count)


class Continuing:
    """A causal model after its prompts. Rows may be padded in front; positions count real tokens only."""

    def __init__(self, backbone: Any, head: nn.Module, batch: Batch):
        self.backbone, self.head, self.batch = backbone, head, batch
        self.cache = backbone.new_cache()
        self.valid: Bool[Tensor, "b t"] | None = batch.get("valid")

    def first(self) -> Float[Tensor, "b v"]:
        return self._read(self.batch.ids)

    def next(self, ids: Int[Tensor, " b"]) -> Float[Tensor, "b v"]:
        if self.valid is not None:
            self.valid = nn.functional.pad(self.valid, (0, 1), value=True)
        return self._read(ids[:, None])

    def _read(self, ids: Int[Tensor, "b t"]) -> Float[Tensor, "b v"]:
        batch, rule = Batch(ids=ids), causal
        if self.valid is not None:
            rule = both(rule, valid(self.valid))
            batch["positions"] = (self.valid.long().cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        seen = see(rule, *ids.shape, device=ids.device, start=self.cache.length)
        return self.head(self.backbone(batch, seen, cache=self.cache).states[:, -1])

    def reorder(self, rows: Int[Tensor, " n"]) -> None:
        self.cache.reorder(rows)
        self.valid = None if self.valid is None else self.valid[rows]


class Answering:
    """An encoder-decoder: the input is read once, the decoder begins with `start`."""

    def __init__(self, backbone: Any, objective: Seq2Seq, batch: Batch):
        self.backbone, self.objective, self.batch = backbone, objective, batch
        self.cache = backbone.new_cache()

    def first(self) -> Float[Tensor, "b v"]:
        start = torch.full_like(self.batch.ids[:, 0], self.objective.start)
        return self.next(self.batch.get("decoder_start", start))

    def next(self, ids: Int[Tensor, " b"]) -> Float[Tensor, "b v"]:
        rule = valid(self.batch.valid) if "valid" in self.batch else full
        seen = see(rule, *self.batch.ids.shape, device=ids.device)
        out = self.backbone(self.batch.but(decoder_ids=ids[:, None]), seen, cache=self.cache)
        return self.objective.scores(out, self.batch)[:, -1]

    def reorder(self, rows: Int[Tensor, " n"]) -> None:
        self.cache.reorder(rows)
        self.batch = self.batch.rows(rows)  # type: ignore[arg-type]


class Filling:
    """A masked model under a prefix (or causal) visibility: append [mask], predict it, put the token in its place.

    Each step reads two places, the token just written and the next mask; the mask is forgotten again.
    Source: UniLM, arXiv:1905.03197 §2.5 and the released decoder. Rows may be padded in front."""

    def __init__(self, backbone: Any, objective: MaskedLM, batch: Batch):
        self.backbone, self.head, self.batch = backbone, objective.head, batch
        self.cache = backbone.new_cache()
        self.mask = objective.role("mask")
        visible = objective.config.visible
        self.segments = visible.segments or ((0, 1) if visible.rule == "prefix" else (0, 0))
        b, t = batch.ids.shape
        self.valid: Bool[Tensor, "b t"] = batch.get("valid", torch.ones_like(batch.ids, dtype=torch.bool))
        self.prefix = batch.ids.new_full((b,), t if visible.rule == "prefix" else 0)

    def first(self) -> Float[Tensor, "b v"]:
        return self._read(self.batch.ids, segment=self.segments[0])

    def next(self, ids: Int[Tensor, " b"]) -> Float[Tensor, "b v"]:
        self.valid = nn.functional.pad(self.valid, (0, 1), value=True)
        return self._read(ids[:, None], segment=self.segments[1])

    def _read(self, ids: Int[Tensor, "b t"], *, segment: int) -> Float[Tensor, "b v"]:
        shown = nn.functional.pad(ids, (0, 1), value=self.mask)
        places = nn.functional.pad(self.valid, (0, 1), value=True)
        segments = torch.full_like(shown, segment)
        segments[:, -1] = self.segments[1]
        at = (places.long().cumsum(1) - 1).clamp(min=0)[:, -shown.shape[1] :]
        rule = both(prefix(self.prefix), valid(places))
        seen = see(rule, *shown.shape, device=ids.device, start=self.cache.length)
        out = self.backbone(Batch(ids=shown, segments=segments, positions=at), seen, cache=self.cache)
        self.cache.forget(1)
        return self.head(out.states[:, -1])

    def reorder(self, rows: Int[Tensor, " n"]) -> None:
        self.cache.reorder(rows)
        self.valid, self.prefix = self.valid[rows], self.prefix[rows]


class Infilling:
    """A model that fills blanks: a text is read in both directions, then what its first mask stands for is written.

    All that is written has the position of the mask, and a second one that counts. Rows may be padded in front.
    Source: GLM, arXiv:2103.10360 §2.1."""

    def __init__(self, backbone: Any, objective: Infill, batch: Batch):
        self.backbone, self.head, self.batch = backbone, objective.head, batch
        self.cache = backbone.new_cache()
        self.start = objective.start
        self.valid: Bool[Tensor, "b t"] = batch.get("valid", torch.ones_like(batch.ids, dtype=torch.bool))
        hidden = batch.ids == objective.role("mask")
        if not hidden.any(1).all():
            raise InputError("generate: a text without a blank; put a mask where something is missing")
        self.places = (self.valid.long().cumsum(1) - 1).clamp(min=0)
        self.at = self.places.gather(1, hidden.long().argmax(1, keepdim=True))
        self.inner = torch.ones_like(self.at)

    def first(self) -> Float[Tensor, "b v"]:
        ids = nn.functional.pad(self.batch.ids, (0, 1), value=self.start)
        inner = torch.cat([torch.zeros_like(self.places), self.inner], 1)
        self.valid = nn.functional.pad(self.valid, (0, 1), value=True)
        return self._read(Batch(ids=ids, positions=torch.cat([self.places, self.at], 1), inner=inner))

    def next(self, ids: Int[Tensor, " b"]) -> Float[Tensor, "b v"]:
        self.inner = self.inner + 1
        self.valid = nn.functional.pad(self.valid, (0, 1), value=True)
        return self._read(Batch(ids=ids[:, None], positions=self.at, inner=self.inner))

    def _read(self, batch: Batch) -> Float[Tensor, "b v"]:
        b, t = batch.ids.shape
        length = self.at.new_full((b,), self.places.shape[1])
        rule = both(prefix(length), valid(self.valid))
        seen = see(rule, b, t, device=batch.ids.device, start=self.cache.length)
        return self.head(self.backbone(batch, seen, cache=self.cache).states[:, -1])

    def reorder(self, rows: Int[Tensor, " n"]) -> None:
        self.cache.reorder(rows)
        self.valid, self.at, self.inner = self.valid[rows], self.at[rows], self.inner[rows]
