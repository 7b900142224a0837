"""One direction only: left-to-right language models and decoders, and their mirror image (UniLM's right-to-left)."""

from torch import Tensor


def causal(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """The query itself and every key before it."""
    return k <= q


def anticausal(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """The query itself and every key after it."""
    return k >= q
