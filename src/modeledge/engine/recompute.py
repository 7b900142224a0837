"""Activation recomputation: what a forward pass computed is dropped, and computed again in the backward.

full: a block keeps its input alone, for a third more compute. Source: Chen et al., arXiv:1604.06174.
selective: only what is large and cheap is computed again, the scores and weights of attention and what stands between
the two products of a feed-forward branch, so that hardly any matrix product runs twice. Source: Korthikanti et al.,
arXiv:2205.05198 §4.2, here with the feed-forward's non-linearity too.

The gradients are the same to the last bit, dropout included."""

from __future__ import annotations

from types import MethodType
from typing import Any, Literal

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(model: nn.Module, what: Literal["selective", "full"]) -> int:
    """Make the model recompute; returns in how many places. full: every block of every `blocks` list; selective: the
    methods that a module names in `light`."""
    done = 0
    for module in model.modules():
        if what == "full":
            blocks = getattr(module, "blocks", None)
            places = [(block, "forward") for block in blocks] if isinstance(blocks, nn.ModuleList) else []
        else:
            places = [(module, name) for name in getattr(module, "light", ())]
        for owner, name in places:
            _wrap(owner, name)
        done += len(places)
    return done


def _wrap(module: nn.Module, name: str) -> None:
    plain = getattr(type(module), name)

    def again(self: nn.Module, *args: Any, **named: Any) -> Any:
        if not self.training:
            return plain(self, *args, **named)
        return checkpoint(plain, self, *args, use_reentrant=False, **named)

    # bound, so that a copy of the module computes with its own weights
    setattr(module, name, MethodType(again, module))
