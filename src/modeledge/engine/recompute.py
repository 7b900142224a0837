"""Activation recomputation: keep a block's input, compute the rest again in the backward.

Source: Chen et al., arXiv:1604.06174. About one block of live activations instead of all, for a third more compute."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_blocks(model: nn.Module) -> int:
    """Make every block of every `blocks` list in the model recompute itself; returns how many there are."""
    done = 0
    for module in model.modules():
        blocks = getattr(module, "blocks", None)
        if isinstance(blocks, nn.ModuleList):
            for block in blocks:
                _wrap(block)
                done += 1
    return done


def _wrap(block: nn.Module) -> None:
    plain = block.forward

    def forward(*args: Any, **named: Any) -> Any:
        if not block.training:
            return plain(*args, **named)
        return checkpoint(plain, *args, use_reentrant=False, **named)

    block.forward = forward  # type: ignore[method-assign]
