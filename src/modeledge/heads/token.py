"""From states to a score for every token of the vocabulary.

Sources: BERT, arXiv:1810.04805 (a layer and a norm before the tied table, and a bias); ALBERT and ELECTRA (the layer
narrows to the table's width); T5, arXiv:1910.10683 (states scaled by the root of the width when tied)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.core import Facts, Part, PartConfig, RecipeError, Slot, Sum, build, find
from modeledge.heads import linear
from modeledge.layers.activations import ACTIVATIONS, Activation
from modeledge.losses.linear_cross_entropy import linear_cross_entropy


class TokenHead(nn.Module, Part):
    class Config(PartConfig):
        """transform: first a layer, a non-linearity and a norm (dense), or a layer alone (linear); norm: default the
        backbone's; decoder: the token table itself or a matrix of its own; scale: divide the states by the root of
        their width."""

        transform: Literal["dense", "linear", "none"] = "dense"
        activation: Activation = "gelu"
        norm: Annotated[PartConfig | None, Slot("layers.norms")] = None
        decoder: Literal["tied", "own"] = "tied"
        bias: bool = True
        scale: Literal["none", "root"] = "none"

    def __init__(self, config: Config, facts: Facts, backbone: nn.Module):
        super().__init__()
        # Not registered, so that the table stays the backbone's alone; looked up at each call, so that a table that is
        # exchanged (shared with a companion, resized) is followed.
        self._backbone = (backbone,)
        width: int = backbone.width  # type: ignore[assignment]
        embedded: int = backbone.embed.weight.shape[1] if config.decoder == "tied" else width  # type: ignore
        self.scale = width**-0.5 if config.scale == "root" else 1.0
        if config.transform == "dense":
            own = getattr(getattr(backbone, "config", None), "norm", None)
            norm = config.norm or own or find("layers.norms", "layer").Config(kind="layer")
            self.dense: nn.Module | None = linear(width, embedded)
            self.activate = ACTIVATIONS[config.activation]
            self.norm = build("layers.norms", norm, embedded)
        elif config.transform == "linear":
            self.dense, self.activate, self.norm = linear(width, embedded), nn.Identity(), nn.Identity()
        elif embedded != width:
            raise RecipeError(
                f"head.transform: none: the states are {width} wide and the token table {embedded}; "
                "a tied decoder needs `transform: dense` or `linear` here"
            )
        else:
            self.dense = None
        self.decoder = linear(width, facts.vocab, bias=False) if config.decoder == "own" else None
        self.bias = nn.Parameter(torch.zeros(facts.vocab)) if config.bias else None

    def forward(self, states: Float[Tensor, "*m d"]) -> Float[Tensor, "*m v"]:
        """Unnormalised log-probabilities of the tokens."""
        return F.linear(self.transformed(states), self.table(), self.bias)

    def loss(self, states: Float[Tensor, "m d"], labels: Int[Tensor, " m"], *, smoothing: float = 0.0) -> Sum:
        """The cross-entropy of the tokens, whose scores are never held all at once."""
        x = self.transformed(states)
        return linear_cross_entropy(x, self.table(), self.bias, labels, smoothing=smoothing)

    def transformed(self, states: Float[Tensor, "*m d"]) -> Float[Tensor, "*m e"]:
        """What the decoder's matrix is multiplied with."""
        x = states if self.dense is None else self.norm(self.activate(self.dense(states)))
        return x if self.scale == 1.0 else self.scale * x

    def table(self) -> Float[Tensor, "v e"]:
        """The decoder's matrix."""
        return self._backbone[0].embed.weight if self.decoder is None else self.decoder.weight  # type: ignore[union-attr]
