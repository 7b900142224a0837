"""The non-linearities by name; which one a released model used is part of its identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "relu_squared", "silu", "tanh", "identity"]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _relu_squared(x: Tensor) -> Tensor:
    return F.relu(x).square()


def _identity(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,  # with the error function: BERT, RoBERTa, ViT
    "gelu_tanh": _gelu_tanh,  # the tanh form of arXiv:1606.08415 §2: GPT, GPT-2, ALBERT
    "quick_gelu": _quick_gelu,  # CLIP
    "relu": F.relu,
    "relu_squared": _relu_squared,  # Primer, arXiv:2109.08668 §4.2
    "silu": F.silu,
    "tanh": torch.tanh,
    "identity": _identity,
}
