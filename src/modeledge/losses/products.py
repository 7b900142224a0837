"""Inner products that are to be told apart: in fp32, whatever autocast would make of them.

A product of bf16 has 8 bits: between 64 and 128 its values stand half a unit apart, so what is compared or searched by
it is full of ties. Saying `.float()` of the factors is not enough: autocast casts them back."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def products(left: Float[Tensor, "*b n d"], right: Float[Tensor, "*b m d"]) -> Float[Tensor, "*b n m"]:
    """The product of each row on the left with each on the right."""
    with torch.autocast(left.device.type, enabled=False):
        return left.float() @ right.float().mT
