"""A task's own encoder on features of a frozen model: a bidirectional LSTM over word vectors of its own, with the
features beside them, beside what it gives, or both.

Source: ELMo, arXiv:1802.05365 §3.3 ([x; ELMo] at the input of the task's RNN, [h; ELMo] at its output with weights of
their own) and §5.2, where the places are compared. Stands in a task's slot `mix`. The paper's x are GloVe vectors; here
they are learned with the task."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from modeledge.core import Batch, Facts, Output, Part, PartConfig, RecipeError, Slot, build, part
from modeledge.layers.dropout import Dropout


class Encoder(nn.Module, Part):
    """encoder(out, batch): states b t `width` of a pass that was asked to keep `reads`; zeros from the LSTM at
    padding."""

    class Config(PartConfig):
        """features: where the mix of the model's layers stands; mix: how they are mixed, anew at each place; words:
        width of the task's own word vectors (0: none); width: of the states of each direction; dropout: on what the
        LSTM reads and on what it gives."""

        features: Literal["none", "input", "output", "both"] = "input"
        mix: Annotated[PartConfig, Slot("heads")] = part("scalar_mix")
        words: int = Field(50, ge=0)
        width: int = Field(128, ge=1)
        layers: int = Field(1, ge=1)
        dropout: float = Field(0.0, ge=0, lt=1)

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__()
        self.config = config
        places = {"none": (), "both": ("input", "output")}.get(config.features, (config.features,))
        if not config.words and "input" not in places:
            raise RecipeError(
                f"mix.features: {config.features}: without words the encoder has nothing to read\n"
                "  next: mix.words=50, or mix.features=input"
            )
        self.words = nn.Embedding(facts.vocab, config.words) if config.words else None
        self.mixes = nn.ModuleDict({place: build("heads", config.mix, facts, backbone) for place in places})
        mixed = {place: backbone.width if place in places else 0 for place in ("input", "output")}
        read = config.words + mixed["input"]
        inner = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(read, config.width, config.layers, batch_first=True, bidirectional=True, dropout=inner)
        self.dropout = Dropout(config.dropout)
        self.width = 2 * config.width + mixed["output"]
        self.reads = next((mix.reads for mix in self.mixes.values()), ())

    def forward(self, out: Output, batch: Batch) -> Float[Tensor, "b t d"]:
        """The states, those of the forward half first, and behind them the features if they stand there."""
        mixed = {place: mix(out, batch) for place, mix in self.mixes.items()}
        read = [] if self.words is None else [self.words(batch.ids)]
        read += [mixed["input"]] if "input" in mixed else []
        states = self.dropout(self.read(self.dropout(torch.cat(read, -1)), batch.get("valid")))
        return torch.cat([states, mixed["output"]], -1) if "output" in mixed else states

    def read(self, x: Float[Tensor, "b t d"], valid: Tensor | None) -> Float[Tensor, "b t h"]:
        """The LSTM over the real tokens, which stand first in each row."""
        if valid is None:
            return self.lstm(x)[0]
        packed = pack_padded_sequence(x, valid.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])[0]

    def penalty(self) -> Float[Tensor, ""]:
        """Of all mixes."""
        found = [mix.penalty() for mix in self.mixes.values()]  # type: ignore[operator]
        return torch.stack(found).sum() if found else torch.zeros(())
