"""Attention in bf16 on a CPU, forward and backward: plain matrix products against torch's fused kernel, for long rows
the products of the backward pass only, in blocks of queries; and blocks in which a mask leaves something to see against
all pairs under it, which is what else would be computed.

    python bench/attention.py [--precision bf16|fp32]

One RATIO line a shape (rows, heads, tokens, width of a head), padding masked as in a batch of short rows. Above 1 the
products are faster; `layers/attention` chooses by these figures. Blocks are taken on CPUs with matrix units only, those
that a mask leaves (`sparse`) on all. Documents have 128 tokens on average; `global`: 64 tokens on either side, and
three that see all and are seen by all. A mask is looked at in every pass: layers of a model share that."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest import mock

import torch
from _ratio import interleave, ratio
from torch import Tensor

from modeledge.engine.memory import keep_freed_memory
from modeledge.layers import attention

PLAIN = [(64, 4, 32, 64), (16, 4, 128, 64), (16, 12, 128, 64), (4, 12, 512, 64)]
BLOCKS = [(1, 12, 2048, 64), (1, 4, 4096, 64)]
SPARSE = [(8, 4, 1024, 64), (2, 4, 4096, 64)]


WAYS: dict[str, dict[str, Callable[..., object]]] = {
    "plain": {"plain_is_faster": lambda *_: True},
    "blocks": {"plain_is_faster": lambda *_: False, "blocks_are_faster": lambda *_: True},
    "fused": {"plain_is_faster": lambda *_: False, "blocks_are_faster": lambda *_: False},
    "sparse": {},
    "all": {"skipping": lambda *_: None},
}
"""What of the choice among ways is not left to `attend`."""


def padded(b: int, t: int) -> Tensor:
    """Rows of at least half their length."""
    real = torch.arange(t) < torch.randint(t // 2, t + 1, (b, 1))
    return real[:, None, None, :].expand(b, 1, t, t)


def documents(b: int, t: int) -> Tensor:
    """Rows of several documents that do not see each other."""
    doc = (torch.rand(b, t) < 1 / 128).long().cumsum(1)
    return (doc[:, :, None] == doc[:, None])[:, None]


def with_global(b: int, t: int) -> Tensor:
    """A band, and tokens without one."""
    at = torch.arange(t)
    seen = ((at[:, None] - at).abs() <= 64) | (at < 3) | (at < 3)[:, None]
    return seen.expand(b, 1, t, t)


class Side:
    """Passes a second over one batch, one way of computing attention."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, way: str, mask: Tensor):
        b, h, t, d = shape
        self.inputs = [torch.randn(b, t, h, d, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3)]
        self.way, self.mask, self.direction = way, mask, torch.randn(b, h, t, d, dtype=dtype)

    def __call__(self) -> float:
        with mock.patch.multiple(attention, **WAYS[self.way]) if WAYS[self.way] else nullcontext():
            start = time.perf_counter()
            for _ in range(5):
                context = attention.Context(mask=self.mask)
                attention.attend(*self.inputs, context, scale=0.125).backward(self.direction)  # type: ignore[arg-type]
            return 5 / (time.perf_counter() - start)


def compare(name: str, ways: tuple[str, str], shape: tuple[int, int, int, int], mask: Tensor, given: Any) -> None:
    """One line: how many times as fast the first way is."""
    dtype = torch.bfloat16 if given.precision == "bf16" else torch.float32
    one, other = interleave(*(Side(shape, dtype, way, mask) for way in ways), windows=given.windows)
    shown = f"attention_{name}_{given.precision}_{'x'.join(map(str, shape))}"
    ratio(shown, one, other, floor=1.0, goal=2.0, unit="passes/s")


def main() -> None:
    """Every shape in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--windows", type=int, default=9)
    given = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    for way, shapes in (("plain", PLAIN), ("blocks", BLOCKS)):
        for shape in shapes:
            compare(f"{way}_over_fused", (way, "fused"), shape, padded(shape[0], shape[2]), given)
    for kind, made in (("documents", documents), ("global", with_global)):
        for shape in SPARSE:
            compare(f"sparse_{kind}_over_all", ("sparse", "all"), shape, made(shape[0], shape[2]), given)


if __name__ == "__main__":
    main()
