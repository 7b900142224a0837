"""Write a text after reading passages found for the input, each by itself; what they say is added up for each token or
for the whole text.

Source: RAG, arXiv:2005.11401 §2: the encoder of passages and the index stay as they are, the encoder of queries and the
generator learn. A passage stands before the input, each ended by [sep] (the release writes `title / text // input`).
Not here: titles, decoding (run/marginal.py)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import IGNORE, Batch, Facts, PartConfig, RecipeError, Slot, Sum, part
from modeledge.losses.marginal import Per, beliefs, log_likelihood, marginal_nll
from modeledge.losses.products import products
from modeledge.objectives._index import Index, beside, encode_texts, frame_of, index_of, repeated
from modeledge.objectives.seq2seq import Seq2Seq


class Found(NamedTuple):
    """numbers: of the passages, best first, b k; prior: log p(passage | input) b k; rows: what the generator reads, the
    k passages of an input one after the other, b*k t."""

    numbers: Tensor
    prior: Float[Tensor, "b k"]
    rows: Batch


class Rag(Seq2Seq):
    """p(text | input) = sum over passages of p(passage | input) p(text | input, passage)."""

    class Config(Seq2Seq.Config):
        """candidates: passages to read for each input; marginal: RAG-Token or RAG-Sequence; passages: the source that
        has them (default: the first); decode: what a text that was written for one passage counts with the others
        (thorough: as they have it; fast: nothing), of sequences."""

        candidates: int = Field(5, ge=1)
        marginal: Per = "sequence"
        passages: str | None = None
        decode: Literal["thorough", "fast"] = "thorough"
        head: Annotated[PartConfig, Slot("heads")] = part("token", transform="none", bias=False)
        start: str = "eos"

    config: Config

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        reader: Any = getattr(backbone, "reader", None)
        if not hasattr(reader, "decoder"):
            raise RecipeError(
                "objective rag: needs towers and a reader that writes: backbone.kind=dual with "
                "`reader: {kind: encoder_decoder}`"
            )
        super().__init__(config, facts, reader)
        if config.smoothing:
            raise RecipeError(f"objective {self.losses[0]}: smoothing: a marginal has none; leave it out")
        frame_of(facts, f"objective {self.losses[0]}")
        self.index: Index | None = None
        self.side = backbone.side("passage")  # a tuple: registered where it belongs, not here
        for module in self.side:
            module.requires_grad_(False)

    def consult(self, sources: dict[str, Any]) -> None:
        where = f"objective {self.losses[0]}"
        self.index = index_of(sources, self.config.passages, self.side, count=self.config.candidates, where=where)

    def forward(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        found = self.find(backbone, batch)
        states = self.write(backbone, found.rows, batch)
        likelihood, counted = self.likelihood(states, batch.decoder_labels)
        return {self.losses[0]: marginal_nll(found.prior, likelihood, counted, per=self.config.marginal)}

    def find(self, backbone: Any, batch: Batch) -> Found:
        """Find passages for the inputs and lay each before its input."""
        assert self.index is not None, "nobody said where the passages are (consult)"
        query = encode_texts(backbone.side("query"), repeated(batch, 1))
        numbers = self.index.top(query.detach(), self.config.candidates)
        scores = products(query[:, None], self.index.fill(query.device)[numbers])[:, 0]
        passages = self.index.texts(numbers.flatten().cpu().numpy(), query.device)
        rows = beside(passages, repeated(batch, self.config.candidates))
        return Found(numbers, scores.log_softmax(-1), rows.but(segments=None))

    def write(self, backbone: nn.Module, rows: Batch, batch: Batch) -> Float[Tensor, "b k u d"]:
        """The decoder's states for the texts of a batch, after each passage."""
        k = len(rows.ids) // len(batch.decoder_ids)
        states = self.run(backbone, rows.but(decoder_ids=batch.decoder_ids.repeat_interleave(k, 0))).states
        return states.view(-1, k, *states.shape[1:])  # type: ignore[union-attr]

    def likelihood(
        self, states: Float[Tensor, "b k u d"], labels: Tensor
    ) -> tuple[Float[Tensor, "b u k"], Bool[Tensor, "b u"]]:
        """log p of each token after each passage, and which tokens count."""
        wanted = labels[:, None].expand(states.shape[:3]).flatten()
        found = log_likelihood(states.flatten(0, 2), wanted, self.head)
        return found.view(states.shape[:3]).transpose(1, 2), labels != IGNORE

    def measure(self, backbone: nn.Module, batch: Batch) -> dict[str, Sum]:
        """accuracy: of tokens, given those before."""
        found = self.find(backbone, batch)
        states = self.write(backbone, found.rows, batch)
        likelihood, counted = self.likelihood(states, batch.decoder_labels)
        prior = found.prior[:, None]
        if self.config.marginal == "sequence":
            prior = beliefs(found.prior, likelihood, counted)
        scores = self.head(states.transpose(1, 2)).float().log_softmax(-1)  # b u k v
        said = (scores + prior[..., None]).logsumexp(2).argmax(-1)
        return {"accuracy": Sum(((said == batch.decoder_labels) & counted).sum(), counted.sum())}
