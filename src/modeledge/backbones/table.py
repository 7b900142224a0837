"""A backbone that is one table: the state of a word is its row, whatever stands beside it. Vectors of words, or of
the entities of a graph.

Source: word2vec, arXiv:1301.3781; initial values as in the tool released with it. The output table belongs to the head
(heads/negative_sampling.py), as every output layer does.

Its gradient is a dense tensor, zero in the rows a batch does not touch, and the optimizers meant for it (AdaGrad,
plain SGD) leave a row with a zero gradient exactly as it is, so a step moves the touched rows only. Sparse tensors
would save the pass over the rest (a tenth of a step at 50,000 words and 100 dimensions, if a batch holds some 10,000
words), but the gradient's norm, its sum over processes and half of the optimizers do not take them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.backbones._levels import Levels
from modeledge.core import Batch, Facts, Output, Part, PartConfig
from modeledge.visibility import Seen


class Table(nn.Module, Part):
    """One vector a word."""

    class Config(PartConfig):
        """width: of a vector; of: what has a vector each, the tokens or the entities of a graph."""

        width: int = Field(100, ge=1)
        of: Literal["tokens", "entities"] = "tokens"

    def __init__(self, config: Config, facts: Facts):
        super().__init__()
        self.config, self.width = config, config.width
        rows = facts.vocab if config.of == "tokens" else facts.entities
        self.embed = nn.Embedding(rows, config.width)
        nn.init.uniform_(self.embed.weight, -0.5 / config.width, 0.5 / config.width)

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        return [("embed",)]

    def forward(
        self, batch: Batch, seen: Seen | None = None, *, keep: Collection[str] = (), cache: object | None = None
    ) -> Output:
        """The row of each word; what a word may see makes no difference. `keep`: "embedding"."""
        states: Float[Tensor, "b t d"] = self.embed(batch.ids)
        return Output(states, kept={"embedding": states} if "embedding" in keep else {})
