"""A language model of one side of a recurrent encoder-decoder: its first layer, its token table and a softmax.

Source: Ramachandran et al., arXiv:1611.02683 §2.1: either side begins as a language model of its language and,
§2.2, goes on as one beside the task so that it is not forgotten. The decoder's softmax is the task's own (`share`)."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from modeledge.core import Batch, Facts, Output, RecipeError, build
from modeledge.objectives import Rule
from modeledge.objectives.clm import CausalLM
from modeledge.visibility.full import full


class SideLM(CausalLM):
    """Predict the next token at every place from the states of a side's first layer."""

    class Config(CausalLM.Config):
        """side: which one."""

        side: Literal["encoder", "decoder"] = "encoder"

    config: Config
    apart = False
    all_tokens = False

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        if not hasattr(backbone, "side"):
            raise RecipeError(
                f"objective {self.losses[0]}: needs a backbone of two recurrent sides\n"
                "  next: backbone.kind: lstm_seq2seq"
            )
        self.head = build("heads", config.head, facts, backbone.side(config.side))

    def visible(self, batch: Batch) -> Rule:
        """The recurrence says who sees whom."""
        return full

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        return super().run(backbone, batch, alone=self.config.side, **options)
